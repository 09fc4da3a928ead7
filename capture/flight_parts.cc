// SPDX-License-Identifier: Apache-2.0
#include "capture/flight_parts.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "traces/reader.h"

namespace pagetape {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFrom = ".from-";

bool take_number(std::string_view& text, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

// FIRST+RESTATED
bool parse_numbers(std::string_view text, FlightPart& part) {
  if (!take_number(text, part.first) || !text.starts_with('+')) return false;
  text.remove_prefix(1);
  return take_number(text, part.restated) && text.empty();
}

// f(path, what comes behind ".from-") for each file that was a part of the trace.
template <class F>
void for_each_part(const std::string& trace, F&& f) {
  const std::string stem = fs::path(trace).filename().string() + std::string(kFrom);
  std::error_code error;
  const fs::path folder = fs::path(trace).has_parent_path() ? fs::path(trace).parent_path() : ".";
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(stem)) f(entry.path().string(), name.substr(stem.size()));
  }
}

// Numbers of the run as those of the joined trace.
class Renumbering {
 public:
  Renumbering(std::uint64_t first, std::uint64_t restated) : first_(first), restated_(restated) {}

  // False where the launch is not in the trace: then the event, of that number, has no place in it.
  bool rename(Event& event, std::uint64_t number) {
    if (auto* error = std::get_if<ev::CudaError>(&event.body)) {
      if (error->after.has_value()) error->after = renamed(*error->after, number);
    }
    auto* done = std::get_if<ev::LaunchDone>(&event.body);
    if (done == nullptr) return true;
    const OptInt launch = renamed(done->event, number);
    if (!launch.has_value()) {
      left_out_.push_back(number);
      return false;
    }
    done->event = *launch;
    return true;
  }

 private:
  OptInt renamed(std::int64_t event, std::uint64_t number) const {
    const auto n = static_cast<std::uint64_t>(event);
    if (n < first_ || n >= number) return {};
    const auto before = std::ranges::lower_bound(left_out_, n) - left_out_.begin();
    return static_cast<std::int64_t>(n - first_ + restated_) - before;
  }

  const std::uint64_t first_, restated_;
  std::vector<std::uint64_t> left_out_;
};

}  // namespace

std::string part_name(const std::string& trace, std::uint64_t first) {
  return trace + std::string(kFrom) + std::to_string(first);
}

std::string part_name(const std::string& trace, std::uint64_t first, std::uint64_t restated) {
  return part_name(trace, first) + '+' + std::to_string(restated);
}

std::vector<FlightPart> parts_of(const std::string& trace) {
  std::vector<FlightPart> parts;
  for_each_part(trace, [&](const std::string& path, std::string_view numbers) {
    FlightPart part;
    part.path = path;
    if (parse_numbers(numbers, part)) parts.push_back(std::move(part));
  });
  std::ranges::sort(parts, {}, &FlightPart::first);
  return parts;
}

void remove_parts(const std::string& trace) {
  for_each_part(trace, [](const std::string& path, const std::string&) { ::unlink(path.c_str()); });
}

Status write_along(const Event& event, Writer& writer, Companion* companion) {
  if (companion != nullptr) {
    if (const std::optional<Keyframe> keyframe = companion->keyframe()) {
      if (Status status = writer.add_keyframe(keyframe->state, keyframe->digest); !status.ok()) {
        return status;
      }
    }
    companion->see(event);
  }
  return writer.add_checked(event);
}

Status join_parts(const std::vector<FlightPart>& parts, Names& names, Writer& writer,
                  Companion* companion, std::uint64_t& behind) {
  behind = parts.front().first;
  Renumbering numbers(parts.front().first, parts.front().restated);
  Event event;
  for (const FlightPart& part : parts) {
    if (part.first != behind) {
      return damaged(part.path + ": follows on event " + std::to_string(behind) + ", not " +
                     std::to_string(part.first));
    }
    Status status;
    const auto reader = Reader::open(part.path, names, status);
    if (reader == nullptr) return status;
    const bool is_first = &part == &parts.front();
    while (reader->position() < part.events && reader->next(event)) {
      const bool again = reader->position() <= part.restated;
      if (again && !is_first) continue;
      if (!again && !numbers.rename(event, behind++)) continue;
      if (status = write_along(event, writer, companion); !status.ok()) return status;
    }
    if (!reader->status().ok()) return reader->status();
  }
  return {};
}

}  // namespace pagetape
