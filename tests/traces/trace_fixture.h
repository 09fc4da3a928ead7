// SPDX-License-Identifier: Apache-2.0
// Traces for tests of the binary form: sample events, files to write and to damage.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/traces/scratch_folder.h"
#include "traces/frame.h"
#include "traces/message.h"
#include "traces/reader.h"
#include "traces/text.h"
#include "traces/writer.h"

namespace pagetape {

// Every kind, bare and with all it may have.
inline const char* const kSampleLines[] = {
    R"({"ev":"header","format":1})",
    R"({"ev":"header","format":1,"engine":"e","engine_version":"1","model":"m","gpu":"g",
        "ranks":{"tp":2,"pp":3,"dp":4},"records":["alloc","free"],
        "clock":"realtime"})",
    R"({"ev":"pool","pool":"F","pages":8,"page_size":4})",
    R"({"ev":"pool","pool":"S","pages":8657,"page_size":1,"kind":"swa","space":"sp",
        "allocator":"al","reserved":[{"page":0,"role":"pad"},{"page":1,"role":"null"}],
        "page_bytes":4096,"offset_bits":32,"layers":4,"layout":"NHD","kv_heads":8,
        "head_dim":128,"v_head_dim":64,"dtype":"bf16"})",
    R"({"ev":"pool_layer","pool":"F","layer":3})",
    R"({"ev":"pool_layer","pool":"F","layer":"draft.0","k_ptr":140000000000000,
        "v_ptr":140000000004096,"shape":[8,4,8,128],"stride":[4096,1024,128,1]})",
    R"({"ev":"arena","arena":"a","bytes":1099511627776})",
    R"({"ev":"extent","arena":"a","owner":"F","begin":0,"end":4096})",
    R"({"ev":"view","object":"F","allocator":9223372036854775807,"kernel":-9223372036854775807})",
    R"({"ev":"buffer","buffer":"t"})",
    R"({"ev":"buffer","buffer":"t","rows":4,"cols":8,"capacity":32,"ptr":140000000000000})",
    R"({"ev":"map","map":"f2s","from":"F","to":"S","unit":"page"})",
    R"({"ev":"pool_set","set":"kv","pools":["F","S"]})",
    R"({"ev":"backend","backend":"d"})",
    R"({"ev":"backend","backend":"d","role":"draft","class":"C"})",
    R"({"ev":"pool_swap","backend":"d","layers":"*","pool":"F"})",
    R"({"ev":"pool_swap","backend":"d","layers":[1,"x",2],"pool":"F","set":"kv"})",
    R"({"ev":"swa_state","backend":"d","uses_swa":false,"swa_pool":null,"derived_from":"F"})",
    R"({"ev":"swa_state","backend":"d","uses_swa":true,"swa_pool":"S","derived_from":"kv"})",
    R"({"ev":"cached","backend":"d","attr":"map","derived_from":"f2s"})",
    R"({"ev":"layer_remap","backend":"d","layer":0,"to":22})",
    R"({"ev":"layer_remap","backend":"d","layer":"x","to":"y"})",
    R"({"ev":"version","object":"F"})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[]})",
    R"({"ev":"alloc","pool":"F","req":"A","pages":[1,2,2147483647,-1],"first":0})",
    R"({"ev":"share","pool":"F","req":"#c","pages":[1],"first":7})",
    R"({"ev":"free","pool":"F","req":"A","pages":[1,2]})",
    R"({"ev":"evict","pool":"S","req":"A","logical":5,"page":2})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1,2]})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"slots":[4,2],"layers":[0,"x"],
        "digest":["p","q"]})",
    R"({"ev":"fill","pool":"F","req":"A","pages":[1,2],"slots":[3],"digest":"p"})",
    R"({"ev":"prefix_key","pool":"F","page":1,"key":"k"})",
    R"({"ev":"prefix_key","pool":"F","page":1,"key":"k","when":"scheduled"})",
    R"({"ev":"prefix_hit","pool":"F","req":"B","page":1,"key":"k"})",
    R"({"ev":"prefix_hit","pool":"F","req":"B","page":1,"key":"k","first":0})",
    R"({"ev":"prefix_drop","pool":"F","page":1,"key":"k"})",
    R"({"ev":"map_set","map":"f2s","pairs":[[1,1],[2,7]]})",
    R"({"ev":"map_clear","map":"f2s","from":[1,2]})",
    R"({"ev":"map_free","map":"f2s","req":"A","from":[2]})",
    R"({"ev":"map_free","map":"f2s","req":"A","from":[2],"skip_unmapped":true})",
    R"({"ev":"free_count","pool":"F","free":-3})",
    R"({"ev":"access","object":"t","used":9,"capacity":8})",
    R"({"ev":"request","req":"A","state":"arrive"})",
    R"({"ev":"accept","req":"A","drafted":4,"accepted":2})",
    R"({"ev":"rewind","pool":"F","req":"A","len":17})",
    R"({"ev":"table","buffer":"t","row":0,"col":0,"pages":[1,2,3]})",
    R"({"ev":"table","buffer":"t","row":0,"col":1,"pages":[9,3,4,5],"req":"A","space":"F",
        "unit":"page"})",
    R"({"ev":"lens","buffer":"l","values":[5,6,7]})",
    R"({"ev":"lens","buffer":"l","values":[5],"row":2})",
    R"({"ev":"slots","buffer":"s","values":[100,101,102,-1]})",
    R"({"ev":"slots","buffer":"s","values":[70368744177664],"row":1})",
    R"({"ev":"attention","backend":"d","layer":22,"rows":[]})",
    R"({"ev":"attention","backend":"d","layer":"x","rows":[{"req":"A","len":9,"pages":[1,2,3]},
        {"req":null,"len":0,"row":3}],"table":"t"})",
    R"({"ev":"attention","backend":"d","layers":[1,2],"rows":[{"req":"A","len":9,"pages":[1,2],
        "q_len":2,"q_pos":7,"spaces":["F","S"],"logical":[1,2]},
        {"req":"B","row":1,"first":3}],"mode":"verify","table":"t","lens":"l","space":"F",
        "unit":"page","page_size":4,"window":128,"table_rows":2,"table_cols":8,
        "bound":{"pool":"F","pages":8,"ptr":1,"shape":[8,4],"stride":[4,1]},"kernel":"k",
        "q_heads":32,"scale":0.125,"soft_cap":-0.0,"sinks":false,"q_dtype":"bf16","k_scale":1.5,
        "v_scale":3e-8})",
    R"({"ev":"attention","backend":"d","layer":1,"rows":[],"bound":{}})",
    R"({"ev":"store","backend":"d","layer":1,"rows":[{"req":"A","slots":[4,5]}]})",
    R"({"ev":"store","backend":"d","layers":[1],"rows":[{"req":"A","row":0,"n":2}],"slots":"s",
        "space":"F","unit":"slot","negative":"wrap","bound":{"pool":"F","pages":8}})",
    R"({"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[1],"to":[0]})",
    R"({"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[1,2],"to":[0,5],"slots":[4,1],
        "layers":[0]})",
    R"({"ev":"launch_done","event":12})",
    R"({"ev":"async_begin","op":"o","kind":"write","pool":"F","pages":[1],"by":"A"})",
    R"({"ev":"async_begin","op":"o","kind":"read","pool":"F","pages":[1],"by":"A","layers":[0]})",
    R"({"ev":"async_end","op":"o"})",
    R"({"ev":"stream_wait","on":1})",
    R"({"ev":"stream_wait","on":1,"ops":["o"]})",
    R"({"ev":"graph_capture","graph":"g"})",
    R"({"ev":"graph_capture","graph":"g","buffers":["t"],"scalars":{"x":1.5,"y":"8","z":true},
        "inputs":["t","l"],"launches":[
        {"ev":"attention","backend":"d","layer":1,"rows":[{"req":"A","row":0}],"table":"t"},
        {"ev":"copy","from_pool":"F","to_pool":"H","req":"A","from":[1],"to":[0]},
        {"ev":"store","backend":"d","layer":1,"rows":[{"req":"A","row":0,"n":1}],"slots":"s"},
        {"ev":"attention","backend":"d","layer":2,"rows":[]}],"stepped":true})",
    R"({"ev":"scalar","name":"x","value":8})",
    R"({"ev":"refresh","buffer":"t"})",
    R"({"ev":"graph_launch","graph":"g"})",
    R"({"ev":"graph_launch","graph":"g","rows":[{"req":"A","row":0,"len":5}]})",
    R"({"ev":"graph_step","graph":"g","index":1})",
    R"({"ev":"step","step":7,"mode":"decode","batch":3})",
    R"({"ev":"kernel","name":"k","grid":[1,2,3],"block":[128,1,1],"correlation":99})",
    R"({"ev":"cuda_error","code":700,"name":"n","message":"m"})",
    R"({"ev":"cuda_error","code":700,"name":"n","message":"m","after":3,"sticky":true})",
    R"({"ev":"note","text":"a \u0000 \"note\" \n"})",
    R"({"ev":"dropped","events":5})",
    R"({"ev":"dropped","events":5,"from_t":1,"to_t":2})",
    R"({"ev":"gap","why":"attached"})",
    R"({"ev":"gap","why":"lost","pools":["F"]})",
    R"({"ev":"note","text":"t","t":1700000000000000123,"stream":7,"src":"a.py:3","rank":1,
        "new":[1]})",
    R"({"ev":"end"})",
};

inline Event parsed(const std::string& text, Names& names) {
  std::string line = text;
  std::erase(line, '\n');
  Event event;
  const Status status = parse_event(line, names, event);
  EXPECT_TRUE(status.ok()) << line << ": " << status.message();
  return event;
}

inline std::vector<Event> sample_events(Names& names) {
  std::vector<Event> events;
  for (const char* line : kSampleLines) events.push_back(parsed(line, names));
  return events;
}

// A small trace of many kinds, with times: for damage at every place.
inline std::vector<Event> small_trace(Names& names) {
  std::vector<Event> events = sample_events(names);
  for (std::size_t i = 0; i < events.size(); ++i) {
    events[i].t = OptInt(1000 * static_cast<std::int64_t>(i));
  }
  return events;
}

using FileBytes = std::vector<unsigned char>;

inline FileBytes load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline void save(const std::string& path, const FileBytes& bytes) {
  // A new file: some file systems write to the disk when one is truncated and closed.
  std::filesystem::remove(path);
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()),
            static_cast<std::streamsize>(bytes.size()));
}

// Flips one bit where the file is.
inline void flip_bit(const std::string& path, std::size_t bit) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(bit / 8));
  const int byte = file.get() ^ (1 << bit % 8);
  file.seekp(static_cast<std::streamoff>(bit / 8));
  file.put(static_cast<char>(byte));
}

// Writes a trace; `close` false leaves it as a kill would after the last segment.
inline void write_trace(const std::string& path, const std::vector<Event>& events,
                        const Names& names, const WriterOptions& options, bool close = true) {
  Status status;
  const auto writer = create_trace(path, names, options, status);
  ASSERT_TRUE(writer != nullptr) << status.message();
  for (const Event& event : events) {
    const Status added = writer->add(event);
    ASSERT_TRUE(added.ok()) << added.message();
  }
  ASSERT_TRUE((close ? writer->close() : writer->flush()).ok());
}

inline WriterOptions segments_of(std::uint32_t events, int level = 3) {
  WriterOptions options;
  options.segment_events = events;
  options.zstd_level = level;
  return options;
}

// The frames of a file that is good.
inline std::vector<Frame> frames_of(const FileBytes& file) {
  std::vector<Frame> frames;
  Frame frame;
  std::uint64_t offset = kFileHeaderBytes;
  const char* why = nullptr;
  while (offset < file.size() && look_at_frame(file, offset, frame, why) == Look::kGood) {
    frames.push_back(frame);
    offset = frame.end();
  }
  return frames;
}

// Makes the checksums of a frame right again after its payload was changed.
inline void reseal(FileBytes& file, const Frame& frame) {
  const auto header = frame_header(frame.kind, payload_of(file, frame));
  std::copy(header.begin(), header.end(), file.begin() + static_cast<long>(frame.offset));
}

// Reads what can be read.
struct ReadBack {
  std::vector<Event> events;
  Status status;
  std::vector<std::string> warnings;
  bool cut = false;
};

inline ReadBack read_back(const std::string& path, Names& names) {
  ReadBack out;
  const auto reader = Reader::open(path, names, out.status);
  if (reader == nullptr) return out;
  Event event;
  while (reader->next(event)) out.events.push_back(event);
  out.status = reader->status();
  out.warnings = reader->warnings();
  out.cut = reader->cut();
  return out;
}

inline bool is_prefix(const std::vector<Event>& part, const std::vector<Event>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

// The payload of a segment of these events, changed as a hostile writer might. `edit` gets the
// segment and its columns; what it leaves stays right (rawBytes, too).
inline Words edited_segment(
    const std::vector<Event>& events, const Names& names,
    const std::function<void(schema::Segment::Builder, schema::Columns::Builder)>& edit) {
  SegmentEncoder encoder(names, 0);
  for (const Event& event : events) encoder.add(event);
  Summary summary;
  const Words words = encoder.finish(0, summary);
  capnp::FlatArrayMessageReader reader(as_capnp(words));
  capnp::MallocMessageBuilder outer, inner;
  outer.setRoot(reader.getRoot<schema::Segment>());
  auto segment = outer.getRoot<schema::Segment>();
  const auto body = segment.getBody();
  capnp::FlatArrayMessageReader columns(
      kj::arrayPtr(reinterpret_cast<const capnp::word*>(body.begin()), body.size() / 8));
  inner.setRoot(columns.getRoot<schema::Columns>());
  Words raw = flatten(inner);
  segment.setRawBytes(raw.size() * 8);
  edit(segment, inner.getRoot<schema::Columns>());
  const bool own_size = segment.getRawBytes() != raw.size() * 8;
  raw = flatten(inner);
  if (!own_size) segment.setRawBytes(raw.size() * 8);
  segment.setBody({reinterpret_cast<const unsigned char*>(raw.data()), raw.size() * 8});
  return flatten(outer);
}

}  // namespace pagetape
