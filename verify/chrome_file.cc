// SPDX-License-Identifier: Apache-2.0
#include "verify/chrome_file.h"

#include <algorithm>

#include "traces/text_json.h"

namespace pagetape {

// "ts" counts microseconds; its decimals are exact.
static std::string microseconds(std::int64_t ns) {
  const bool negative = ns < 0;
  const auto n = negative ? -static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  const std::string decimals = std::to_string(1000 + n % 1000).substr(1);
  return (negative ? "-" : "") + std::to_string(n / 1000) + '.' + decimals;
}

ChromeArgs& ChromeArgs::add(std::string_view key, std::int64_t value) {
  return member(key, std::to_string(value));
}

ChromeArgs& ChromeArgs::add(std::string_view key, std::string_view text) {
  return member(key, json_string(text));
}

ChromeArgs& ChromeArgs::member(std::string_view key, const std::string& json) {
  if (!members_.empty()) members_ += ", ";
  members_ += json_string(key) + ": " + json;
  return *this;
}

void ChromeFile::name_process(std::int64_t pid, std::string_view name) {
  const std::string of = R"({"ph": "M", "pid": )" + std::to_string(pid) + R"(, "name": ")";
  put_line(of + R"(process_name", "args": )" + ChromeArgs().add("name", name).text() + '}');
  put_line(of + R"(process_sort_index", "args": )" + ChromeArgs().add("sort_index", pid).text() +
           '}');
}

void ChromeFile::name_lane(const ChromeLane& lane, std::string_view name) {
  put_line(R"({"ph": "M", "pid": )" + std::to_string(lane.pid) + R"(, "tid": )" +
           std::to_string(lane.tid) + R"(, "name": "thread_name", "args": )" +
           ChromeArgs().add("name", name).text() + '}');
}

void ChromeFile::begin(ChromeLane& lane, std::int64_t t, const ChromeItem& item) {
  ++lane.depth;
  put(lane, t, 'B', item);
}

void ChromeFile::end(ChromeLane& lane, std::int64_t t) {
  --lane.depth;
  put(lane, t, 'E', {});
}

void ChromeFile::instant(ChromeLane& lane, std::int64_t t, const ChromeItem& item) {
  put(lane, t, 'i', item, R"(, "s": "t")");
}

void ChromeFile::counter(ChromeLane& lane, std::int64_t t, const ChromeItem& item) {
  put(lane, t, 'C', item);
}

void ChromeFile::begin_async(ChromeLane& lane, std::int64_t t, std::string_view id,
                             const ChromeItem& item) {
  put(lane, t, 'b', item, R"(, "id": )" + json_string(id));
}

void ChromeFile::end_async(ChromeLane& lane, std::int64_t t, std::string_view id,
                           const ChromeItem& item) {
  put(lane, t, 'e', item, R"(, "id": )" + json_string(id));
}

void ChromeFile::finish() {
  if (!started_) put_line("");
  if (status_.ok()) status_ = out_.write("\n]}\n");
}

void ChromeFile::put(ChromeLane& lane, std::int64_t t, char phase, const ChromeItem& item,
                     std::string_view more) {
  lane.last = std::max(lane.last, t);
  std::string json = R"({"ph": ")" + std::string(1, phase) + R"(", "pid": )" +
                     std::to_string(lane.pid) + R"(, "tid": )" + std::to_string(lane.tid) +
                     R"(, "ts": )" + microseconds(lane.last);
  if (!item.name.empty()) {
    json += R"(, "cat": )" + json_string(item.category) + R"(, "name": )" + json_string(item.name) +
            std::string(more) + R"(, "args": )" + item.args.text();
  }
  put_line(json + '}');
}

void ChromeFile::put_line(const std::string& json) {
  if (!status_.ok()) return;
  status_ = out_.write(started_ ? ",\n" : "{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n");
  started_ = true;
  if (status_.ok()) status_ = out_.write(json);
}

}  // namespace pagetape
