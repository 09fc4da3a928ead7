// SPDX-License-Identifier: Apache-2.0
#include "traces/source.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>

#include "traces/frame.h"
#include "traces/reader.h"
#include "traces/text_source.h"

namespace pagetape {
namespace {

// Whether a file that begins so is a binary trace: a file cut within its first bytes is one, and a
// damaged byte there must not turn a damaged trace into a text in error. A text has none of the
// first six bytes in their places.
bool is_binary(std::string_view begin) {
  std::size_t agree = 0;
  for (std::size_t i = 0; i < begin.size(); ++i) agree += begin[i] == kTraceMagic[i];
  return 2 * agree >= begin.size();
}

}  // namespace

std::unique_ptr<Source> open_trace(const std::string& path, Names& names, Status& status) {
  std::error_code error;
  const std::filesystem::file_type type = std::filesystem::status(path, error).type();
  if (type == std::filesystem::file_type::directory) {
    status = usage(path + ": is a folder, not a trace");
    return nullptr;
  }
  // What was read of a pipe cannot be put back; a binary trace needs a file to seek in.
  if (type == std::filesystem::file_type::fifo) return open_text(path, names, status);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    status = usage(path + ": cannot be read: " + std::strerror(errno));
    return nullptr;
  }
  char begin[kTraceMagic.size()];
  const std::size_t size = std::fread(begin, 1, sizeof begin, file);
  std::fclose(file);
  if (size == 0) {
    status = usage(path + " is empty: neither a binary trace nor a text trace");
    return nullptr;
  }
  return is_binary({begin, size}) ? open_binary(path, names, status)
                                  : open_text(path, names, status);
}

}  // namespace pagetape
