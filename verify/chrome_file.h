// SPDX-License-Identifier: Apache-2.0
// The Trace Event Format of chrome://tracing and ui.perfetto.dev: lanes, slices, instants,
// counters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "verify/output_file.h"

namespace pagetape {

// Members of a JSON object.
class ChromeArgs {
 public:
  ChromeArgs& add(std::string_view key, std::int64_t value);
  ChromeArgs& add(std::string_view key, std::string_view text);
  std::string text() const { return '{' + members_ + '}'; }

 private:
  ChromeArgs& member(std::string_view key, const std::string& json);
  std::string members_;
};

// A row of the picture. What stands in it has times that do not go back, so that its slices lie
// within each other.
struct ChromeLane {
  std::int64_t pid = 0, tid = 0;
  std::int64_t last = INT64_MIN;  // ns.
  std::int64_t depth = 0;         // Slices that are open.
};

struct ChromeItem {
  std::string_view name, category;
  ChromeArgs args = {};
};

// Written as it goes: holds nothing but what went wrong first. Times are nanoseconds; one before
// the last of its lane becomes that one.
class ChromeFile {
 public:
  explicit ChromeFile(OutputFile& out) : out_(out) {}

  void name_process(std::int64_t pid, std::string_view name);
  void name_lane(const ChromeLane& lane, std::string_view name);
  void begin(ChromeLane& lane, std::int64_t t, const ChromeItem& item);
  void end(ChromeLane& lane, std::int64_t t);  // The slice that began last.
  void instant(ChromeLane& lane, std::int64_t t, const ChromeItem& item);
  void counter(ChromeLane& lane, std::int64_t t, const ChromeItem& item);
  // What may overlap others of its lane, told apart by `id`.
  void begin_async(ChromeLane& lane, std::int64_t t, std::string_view id, const ChromeItem& item);
  void end_async(ChromeLane& lane, std::int64_t t, std::string_view id, const ChromeItem& item);
  // The end of the file, which is not yet put in place.
  void finish();

  const Status& status() const { return status_; }

 private:
  void put(ChromeLane& lane, std::int64_t t, char phase, const ChromeItem& item,
           std::string_view more = {});
  void put_line(const std::string& json);

  OutputFile& out_;
  Status status_;
  bool started_ = false;
};

}  // namespace pagetape
