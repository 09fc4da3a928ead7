// SPDX-License-Identifier: Apache-2.0
#include "traces/text_json.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace pagetape {
namespace {

std::string error_of(std::string_view text) {
  nlohmann::json value;
  return parse_json(text, value).message();
}

TEST(TextJson, AgreesWithTheLibraryOnWhatIsValid) {
  const std::string text =
      R"({"a": [1, -2, 2.5, 1e3, true, null, "x\u00e9\n"], "b": {"c": {}, "d": []}, "": 0})";
  nlohmann::json value;
  ASSERT_TRUE(parse_json(text, value).ok());
  EXPECT_EQ(value, nlohmann::json::parse(text));
}

TEST(TextJson, RefusesAKeyThatStandsTwiceAtAnyDepth) {
  EXPECT_EQ(error_of(R"({"a": 1, "a": 1})"), "the key \"a\" stands twice in one object");
  EXPECT_EQ(error_of(R"({"a": [{"b": 1, "b": 2}]})"), "the key \"b\" stands twice in one object");
  EXPECT_EQ(error_of(R"({"a": {"a": 1}, "b": {"a": 1}})"), "");
}

TEST(TextJson, RefusesToNestDeeperThanEight) {
  EXPECT_EQ(error_of("[[[[[[[[0]]]]]]]]"), "");
  EXPECT_EQ(error_of("[[[[[[[[[0]]]]]]]]]"), "lists and objects are nested deeper than 8");
  EXPECT_EQ(error_of(std::string(1 << 20, '[')), "lists and objects are nested deeper than 8");
}

TEST(TextJson, RefusesALineOfMoreThan64MiB) {
  const std::string text(kMaxLineBytes + 1, ' ');
  EXPECT_EQ(error_of(text), "longer than 64 MiB");
}

TEST(TextJson, SaysWhereATextIsNotValid) {
  EXPECT_EQ(error_of("{\"a\": NaN}"), "not valid JSON at column 7: invalid literal");
  EXPECT_EQ(error_of("{} {}"), "not valid JSON at column 4: unexpected '{'");
  EXPECT_EQ(error_of(""), "not valid JSON at column 1: unexpected end of input");
  EXPECT_EQ(error_of("[1e999]"), "not valid JSON at column 6: a number is too large");
  EXPECT_EQ(error_of("[\"\xff\"]"),
            "not valid JSON at column 3: invalid string: ill-formed UTF-8 byte");
}

TEST(TextJson, DoesNotTakeANulByteForTheEnd) {
  using std::string_literals::operator""s;
  EXPECT_EQ(error_of("{}\0garbage"s), "not valid JSON at column 3: a NUL byte");
}

TEST(TextJson, ShowsValuesShortly) {
  EXPECT_EQ(shown(-4), "-4");
  EXPECT_EQ(shown("x\""), R"("x\"")");
  EXPECT_EQ(shown(nullptr), "null");
  EXPECT_EQ(shown({1, 2, 3}), "a list");
  EXPECT_EQ(shown({{"a", 1}}), "an object");
  EXPECT_EQ(shown(std::string(100, 'x')), '"' + std::string(60, 'x') + "\"...");
}

TEST(TextJson, PrintsBytesThatAreNoTextAsReplaced) {
  EXPECT_EQ(json_string("a\xff"), "\"a\xef\xbf\xbd\"");
}

}  // namespace
}  // namespace pagetape
