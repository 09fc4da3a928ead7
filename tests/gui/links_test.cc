// SPDX-License-Identifier: Apache-2.0
#include "gui/app/links.h"

#include <gtest/gtest.h>

namespace pagetape {
namespace {

// Links as "[text|command]".
std::string marked(std::string_view sentence) {
  Names names;
  for (const char* name : {"d", "A", "S", "F", "H", "r0"}) names.intern(name);
  std::string out;
  for (const Phrase& phrase : linked(sentence, names, Tone::kBad)) {
    EXPECT_EQ(phrase.tone, Tone::kBad);
    out += phrase.command.empty() ? phrase.text : '[' + phrase.text + '|' + phrase.command + ']';
  }
  EXPECT_EQ(text_of(linked(sentence, names)), sentence) << "not a letter is lost";
  return out;
}

TEST(Links, WhatAReportNamesLeadsThere) {
  EXPECT_EQ(marked("OOB_PAGE at event 51,517, step 2, backend d, layer 22 (logical a0), request A, "
                   "row 0, column 1, page 9 of 8 in pool S: entry 9 is outside"),
            "OOB_PAGE at event [51,517|goto 51517], step 2, backend [d|declared d], layer 22 "
            "(logical a0), request [A|request A], row 0, column 1, page [9|blame S:9] of 8 in pool "
            "[S|declared S]: entry 9 is outside");
}

TEST(Links, PagesOfAListLeadEachToItself) {
  EXPECT_EQ(marked("pages 1, 2, … (128 in all) of pool F given to r0"),
            "pages [1|blame F:1], [2|blame F:2], … (128 in all) of pool [F|declared F] given to "
            "[r0|request r0]");
  EXPECT_EQ(marked("page 7 of pool F copied to page 1 of pool H"),
            "page [7|blame F:7] of pool [F|declared F] copied to page [1|blame H:1] of pool "
            "[H|declared H]");
  EXPECT_EQ(marked("page 7 of pool F written by A"),
            "page [7|blame F:7] of pool [F|declared F] written by [A|request A]");
}

TEST(Links, WhereThePoolIsNotSaidPagesStayPlain) {
  const char* table = "table t, row 0, from column 0: pages 1, 2, ids of space F";
  EXPECT_EQ(marked(table), table);
  EXPECT_EQ(marked("backend d: layer 22 bound to pool S (the pool swap)"),
            "backend [d|declared d]: layer 22 bound to pool [S|declared S] (the pool swap)");
}

TEST(Links, WhatIsNoNameStaysPlain) {
  const char* swap = "the pool bound is S, the pool swap, request nobody, given to everyone";
  EXPECT_EQ(marked(swap), swap);
}

TEST(Links, NoSentenceIsTooOdd) {
  for (const char* odd :
       {"", " ", "  pool ", "event", "event ,", "(page", "page 1,", "pages , ,"}) {
    EXPECT_EQ(marked(odd), odd);
  }
}

}  // namespace
}  // namespace pagetape
