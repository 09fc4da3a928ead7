// SPDX-License-Identifier: Apache-2.0
#include "traces/brief.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>

#include "tests/traces/trace_fixture.h"
#include "traces/codec.h"

namespace pagetape {
namespace {

// What comes of a segment: its events as text, and how it ended.
std::string read_out(const Words& payload, Names& names) {
  SegmentDecoder decoder(names);
  if (!decoder.open(payload)) return "not opened: " + decoder.error();
  std::string out;
  for (Event event;;) {
    const SegmentDecoder::Next next = decoder.next(event);
    if (next == SegmentDecoder::Next::kEnd) return out;
    if (next == SegmentDecoder::Next::kMalformed) return out + decoder.error();
    out += print_event(event, names) + '\n';
  }
}

// The same where brief events are passed over, some at a time: they must be those that next() gives
// to another decoder.
std::string read_past_briefs(const Words& payload, Names& names, std::size_t& passed) {
  SegmentDecoder decoder(names), other(names);
  if (!decoder.open(payload) || !other.open(payload)) return "not opened: " + decoder.error();
  std::string out;
  for (Event event;;) {
    const Briefs briefs = decoder.briefs();
    auto rewind = briefs.rewinds.begin();
    auto accept = briefs.accepts.begin();
    for (std::size_t i = 0; i < briefs.count; ++i) {
      EXPECT_EQ(other.next(event), SegmentDecoder::Next::kEvent);
      const auto* rewound = std::get_if<ev::Rewind>(&event.body);
      EXPECT_TRUE(rewound != nullptr ? *rewound == *rewind++
                                     : std::get<ev::Accept>(event.body) == *accept++);
      EXPECT_EQ(event.rank, briefs.rank);
      out += print_event(event, names) + '\n';
    }
    EXPECT_EQ(briefs.count, briefs.rewinds.size() + briefs.accepts.size());
    decoder.pass(briefs);
    passed += briefs.count;
    if (briefs.count > 0) continue;
    const SegmentDecoder::Next next = decoder.next(event);
    EXPECT_EQ(other.next(event), next);
    if (next == SegmentDecoder::Next::kEnd) return out;
    if (next == SegmentDecoder::Next::kMalformed) return out + decoder.error();
    out += print_event(event, names) + '\n';
  }
}

Words brief_events(Names& names) {
  SegmentEncoder encoder(names, 0);
  std::mt19937 random(5);
  for (int i = 0; i < 300; ++i) {
    const std::string of = R"(,"req":"r)" + std::to_string(random() % 3) + R"(","t":)" +
                           std::to_string(i) + (random() % 3 == 0 ? R"(,"rank":1)" : "");
    const auto kind = random() % 8;
    encoder.add(parsed(kind == 0  ? R"({"ev":"step","step":4})"
                       : kind < 3 ? R"({"ev":"accept","drafted":3,"accepted":2)" + of + '}'
                                  : R"({"ev":"rewind","pool":"p","len":)" +
                                        std::to_string(random() % 99) + of + '}',
                       names));
  }
  Summary summary;
  return encoder.finish(0, summary);
}

TEST(Brief, EventsAreThoseThatNextGives) {
  Names names;
  const Words payload = brief_events(names);
  const std::string all = read_out(payload, names);
  EXPECT_EQ(std::ranges::count(all, '\n'), 300);
  std::size_t passed = 0;
  EXPECT_EQ(read_past_briefs(payload, names, passed), all);
  EXPECT_GT(passed, 250U);  // All but the steps among them.
}

TEST(Brief, WhatIsWrongWithOneIsFoundAlike) {
  Names names;
  const Words payload = brief_events(names);
  const std::string whole = read_out(payload, names);
  std::size_t differ = 0, passed = 0;
  for (std::size_t bit = 0; bit < payload.size() * 64; bit += 3) {
    Words damaged = payload;
    damaged[bit / 64] ^= std::uint64_t{1} << (bit % 64);
    const std::string all = read_out(damaged, names);
    ASSERT_EQ(read_past_briefs(damaged, names, passed), all) << "bit " << bit;
    differ += all != whole;
  }
  EXPECT_GT(differ, 1000U);
}

Words alike(const char* line, int count, Names& names) {
  SegmentEncoder encoder(names, 3);
  for (int i = 0; i < count; ++i) encoder.add(parsed(line, names));
  Summary summary;
  return encoder.finish(0, summary);
}

TEST(Brief, NoneAreReadOfASegmentThatWasLeft) {
  Names names;
  const char* rewind = R"({"ev":"rewind","pool":"p","req":"r","len":5})";
  const char* accept = R"({"ev":"accept","req":"r","drafted":3,"accepted":2})";
  auto first = std::make_unique<Words>(alike(rewind, 200, names));
  const Words second = alike(accept, 3000, names);
  SegmentDecoder decoder(names);
  ASSERT_TRUE(decoder.open(*first));
  for (int i = 0; i < 2; ++i) decoder.pass(decoder.briefs());
  first.reset();
  ASSERT_TRUE(decoder.open(second));
  std::size_t accepts = 0;
  for (Briefs briefs = decoder.briefs(); briefs.count > 0; briefs = decoder.briefs()) {
    EXPECT_TRUE(briefs.rewinds.empty());
    accepts += briefs.accepts.size();
    decoder.pass(briefs);
  }
  EXPECT_EQ(accepts, 3000U);
}

}  // namespace
}  // namespace pagetape
