// SPDX-License-Identifier: Apache-2.0
// What the two directions share, and the small messages: summaries, keyframes, the index.
#include "traces/codec.h"

#include <zstd.h>

#include <cstring>
#include <numeric>

#include "traces/check.h"
#include "traces/columns.h"
#include "traces/message.h"

namespace pagetape {

capnp::ReaderOptions limits_for(WordSpan message) {
  capnp::ReaderOptions options;
  // Each part of a message is read once or twice; a pointer that many others share is not free.
  options.traversalLimitInWords = 2 * message.size() + 4096;
  options.nestingLimit = 16;
  return options;
}

Words flatten(capnp::MessageBuilder& message) {
  Words words(capnp::computeSerializedSizeInWords(message));
  kj::ArrayOutputStream out(
      kj::arrayPtr(reinterpret_cast<kj::byte*>(words.data()), words.size() * sizeof(words[0])));
  capnp::writeMessage(out, message);
  return words;
}

Compressor::Compressor(int level)
    : level_(level), context_(level == 0 ? nullptr : ZSTD_createCCtx()) {
  PAGETAPE_CHECK(level == 0 || context_ != nullptr, "zstd: no memory");
}

Compressor::~Compressor() { ZSTD_freeCCtx(context_); }

Compressed Compressor::compress(std::span<const std::byte> raw) {
  if (level_ == 0) {
    return {schema::Compression::NONE,
            {reinterpret_cast<const unsigned char*>(raw.data()), raw.size()}};
  }
  if (const std::size_t most = ZSTD_compressBound(raw.size()); buffer_.size() < most) {
    buffer_.resize(most);
  }
  const std::size_t size =
      ZSTD_compressCCtx(context_, buffer_.data(), buffer_.size(), raw.data(), raw.size(), level_);
  PAGETAPE_CHECK(!ZSTD_isError(size), "zstd: %s", ZSTD_getErrorName(size));
  return {schema::Compression::ZSTD, std::span(buffer_).first(size)};
}

bool decompress(std::span<const unsigned char> in, std::span<unsigned char> out) {
  return ZSTD_decompress(out.data(), out.size(), in.data(), in.size()) == out.size();
}

void write_summary(const Summary& summary, schema::Summary::Builder out) {
  if (summary.time_first.has_value()) {
    out.setTimeFirst(*summary.time_first);
    out.setTimeLast(*summary.time_last);
  }
  auto counts = out.initCounts(kKinds);
  for (std::size_t i = 0; i < kKinds; ++i) counts.set(kind_number(i), summary.counts[i]);
  out.setLanesMax(summary.lanes_max);
  out.setLaunches(summary.launches);
  auto ranks = out.initRanks(static_cast<unsigned>(summary.ranks.size()));
  for (unsigned i = 0; i < ranks.size(); ++i) ranks.set(i, summary.ranks[i]);
}

bool read_summary(schema::Summary::Reader in, Summary& summary) {
  summary = Summary();
  summary.time_first = OptInt(in.getTimeFirst());
  summary.time_last = OptInt(in.getTimeLast());
  const auto counts = in.getCounts();
  if (counts.size() > 256) return false;
  for (std::size_t kind = 0; kind < kKinds; ++kind) {
    const unsigned number = kind_number(kind);
    if (number < counts.size()) summary.counts[kind] = counts[number];
  }
  summary.lanes_max = in.getLanesMax();
  summary.launches = in.getLaunches();
  for (const std::int64_t rank : in.getRanks()) summary.ranks.push_back(rank);
  return true;
}

bool segment_info(WordSpan payload, SegmentInfo& info) {
  return reading([&] {
    capnp::FlatArrayMessageReader message(as_capnp(payload), limits_for(payload));
    const auto segment = message.getRoot<schema::Segment>();
    info.first_event = segment.getFirstEvent();
    info.events = segment.getEventCount();
    return info.events > 0 && info.first_event <= UINT64_MAX - info.events &&
           read_summary(segment.getSummary(), info.summary);
  });
}

Words encode_keyframe(const KeyframeInfo& info, std::string_view state, int zstd_level) {
  Compressor compressor(zstd_level);
  const Compressed body = compressor.compress(std::as_bytes(std::span(state)));
  capnp::MallocMessageBuilder message(static_cast<unsigned>(body.bytes.size() / 8 + 16));
  auto keyframe = message.initRoot<schema::Keyframe>();
  keyframe.setEvent(info.event);
  keyframe.setDigest(info.digest);
  keyframe.setCompression(body.how);
  keyframe.setRawBytes(state.size());
  keyframe.setState({body.bytes.data(), body.bytes.size()});
  return flatten(message);
}

bool decode_keyframe(WordSpan payload, KeyframeInfo& info, std::string* state) {
  return reading([&] {
    capnp::FlatArrayMessageReader message(as_capnp(payload), limits_for(payload));
    const auto keyframe = message.getRoot<schema::Keyframe>();
    info.event = keyframe.getEvent();
    info.digest = keyframe.getDigest();
    const std::uint64_t raw = keyframe.getRawBytes();
    const auto data = keyframe.getState();
    if (raw > kMaxBodyBytes) return false;
    if (state == nullptr) return true;
    switch (keyframe.getCompression()) {
      case schema::Compression::NONE:
        state->assign(reinterpret_cast<const char*>(data.begin()), data.size());
        return data.size() == raw;
      case schema::Compression::ZSTD:
        state->resize(raw);
        return decompress({data.begin(), data.size()},
                          {reinterpret_cast<unsigned char*>(state->data()), state->size()});
    }
    return false;
  });
}

Words encode_index(const IndexInfo& index) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<schema::Index>();
  root.setEvents(index.events);
  auto segments = root.initSegments(static_cast<unsigned>(index.segments.size()));
  for (unsigned i = 0; i < segments.size(); ++i) {
    segments[i].setOffset(index.segments[i].offset);
    segments[i].setFirstEvent(index.segments[i].first_event);
    segments[i].setEventCount(index.segments[i].events);
    write_summary(index.segments[i].summary, segments[i].initSummary());
  }
  auto keyframes = root.initKeyframes(static_cast<unsigned>(index.keyframes.size()));
  for (unsigned i = 0; i < keyframes.size(); ++i) {
    keyframes[i].setOffset(index.keyframes[i].offset);
    keyframes[i].setEvent(index.keyframes[i].event);
    keyframes[i].setDigest(index.keyframes[i].digest);
  }
  return flatten(message);
}

bool decode_index(WordSpan payload, IndexInfo& index) {
  index = IndexInfo();
  return reading([&] {
    capnp::FlatArrayMessageReader message(as_capnp(payload), limits_for(payload));
    const auto root = message.getRoot<schema::Index>();
    index.events = root.getEvents();
    for (const auto entry : root.getSegments()) {
      SegmentInfo& info = index.segments.emplace_back();
      info.offset = entry.getOffset();
      info.first_event = entry.getFirstEvent();
      info.events = entry.getEventCount();
      if (!read_summary(entry.getSummary(), info.summary)) return false;
    }
    for (const auto entry : root.getKeyframes()) {
      index.keyframes.push_back({entry.getOffset(), entry.getEvent(), entry.getDigest()});
    }
    return true;
  });
}

}  // namespace pagetape
