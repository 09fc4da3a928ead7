// SPDX-License-Identifier: Apache-2.0
// Cap'n Proto messages and zstd, as the codec uses both: limits set, failures turned into values.
#pragma once

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <kj/exception.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "traces/codec.h"
#include "traces/trace.capnp.h"

struct ZSTD_CCtx_s;

namespace pagetape {

// Reader options under which a hostile message cannot cost more than about its own size.
capnp::ReaderOptions limits_for(WordSpan message);

inline kj::ArrayPtr<const capnp::word> as_capnp(WordSpan words) {
  return {reinterpret_cast<const capnp::word*>(words.data()), words.size()};
}

// The flat form of a message.
Words flatten(capnp::MessageBuilder& message);

// Runs f, which reads a message, and returns what it returns; false where the message is malformed,
// with the reason in *error if that is given.
template <class F>
bool reading(F&& f, std::string* error = nullptr) {
  try {
    return f();
  } catch (const kj::Exception& exception) {
    if (error != nullptr) *error = exception.getDescription().cStr();
    return false;
  }
}

struct Compressed {
  schema::Compression how = schema::Compression::NONE;
  std::span<const unsigned char> bytes;  // Of the compressor, or of what was given.
};

// Compresses one thing after another in the same memory. Level 0: the data stands as it is.
class Compressor {
 public:
  explicit Compressor(int level);
  ~Compressor();
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  // What comes out holds until the next call.
  Compressed compress(std::span<const std::byte> raw);

 private:
  const int level_;
  ZSTD_CCtx_s* const context_;
  std::vector<unsigned char> buffer_;
};

// Decompresses into `out`, whose size is what must come out.
bool decompress(std::span<const unsigned char> in, std::span<unsigned char> out);

void write_summary(const Summary& summary, schema::Summary::Builder out);
// False where the counts are of more kinds than numbers exist.
bool read_summary(schema::Summary::Reader in, Summary& summary);

}  // namespace pagetape
