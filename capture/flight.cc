// SPDX-License-Identifier: Apache-2.0
#include "capture/flight.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <utility>

namespace pagetape {
namespace {

// Parts of what is kept: so much more than was asked for may be there.
constexpr std::uint64_t kParts = 8;
constexpr std::string_view kSuffix = ".ptape";

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &parts);
  return text;
}

}  // namespace

bool FlightOptions::begins_stopped() const {
  return std::ranges::any_of(triggers,
                             [](const Trigger& t) { return t.act == Trigger::Act::kStart; });
}

FlightRecorder::Part::~Part() {
  if (dropped) ::unlink(path.c_str());
}

FlightRecorder::FlightRecorder(std::string trace, Names& names, FlightOptions options)
    : trace_(std::move(trace)),
      names_(names),
      options_(std::move(options)),
      recording_(!options_.begins_stopped()) {}

FlightRecorder::~FlightRecorder() {
  if (worker_.joinable()) worker_.join();
}

Status FlightRecorder::before(const Event& event, Companion& companion) {
  if (!recording_ || !due(event)) return {};
  if (writer_ != nullptr) {
    if (Status status = writer_->close(); !status.ok()) return status;
    parts_.back()->bytes = writer_->bytes();
    writer_ = nullptr;
  }
  if (Status status = begin_part(companion); !status.ok()) return status;
  drop_old();
  return {};
}

// Parts begin where a step does, unless none comes for long.
bool FlightRecorder::due(const Event& event) const {
  if (writer_ == nullptr) return true;
  const FlightLimits& limits = options_.limits;
  const std::uint64_t patience = event.kind() == kKindOf<ev::Step> ? 1 : 2;
  const std::uint64_t grown = writer_->bytes() - parts_.back()->bytes;
  if (limits.bytes != 0 && grown >= limits.bytes / kParts * patience) return true;
  std::chrono::nanoseconds most(limits.ns / kParts * patience);
  // Limits shorter than a step takes cut at steps, too.
  if (patience > 1) most = std::max<std::chrono::nanoseconds>(most, std::chrono::milliseconds(500));
  return limits.ns != 0 && Clock::now() - parts_.back()->begun >= most;
}

Status FlightRecorder::begin_part(Companion& companion) {
  const std::string unfinished = part_name(trace_, events_);
  Status status;
  WriterOptions format;
  format.zstd_level = options_.zstd_level;
  if (options_.limits.bytes != 0) {
    const std::uint64_t most = std::max<std::uint64_t>(options_.limits.bytes / kParts, 1u << 16);
    format.segment_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, 4u << 20));
  }
  auto writer = create_trace(unfinished, names_, format, status);
  if (writer == nullptr) return status;
  const auto add = [&](const Event& event) {
    if (status.ok()) status = writer->add(event);
  };
  if (events_ > 0) {
    companion.restate("the recording before was cut", add);
    Event note;
    note.body = ev::Note{names_.intern("restated up to here: event " + std::to_string(events_) +
                                       " of the run comes next")};
    add(note);
    if (status.ok()) status = writer->flush();
  }
  if (!status.ok()) return status;
  auto part = std::make_shared<Part>();
  part->first = events_;
  part->restated = writer->events();
  part->path = part_name(trace_, events_, part->restated);
  part->begun = Clock::now();
  part->bytes = writer->bytes();
  if (std::rename(unfinished.c_str(), part->path.c_str()) != 0) {
    return system_error(part->path + ": cannot be renamed into place");
  }
  parts_.push_back(std::move(part));
  writer_ = std::move(writer);
  return {};
}

// What lies before all that is to be kept.
void FlightRecorder::drop_old() {
  const FlightLimits& limits = options_.limits;
  const auto now = parts_.back()->begun;
  std::uint64_t bytes = this->bytes();
  while (parts_.size() > 1) {
    const bool old =
        limits.ns != 0 && now - parts_[1]->begun >= std::chrono::nanoseconds(limits.ns);
    // What the part that begins now may grow by: without steps twice its share, and a segment.
    const bool much = limits.bytes != 0 && bytes > limits.bytes / kParts * (kParts - 3);
    if (!old && !much) break;
    bytes -= parts_.front()->bytes;
    parts_.front()->dropped = true;
    parts_.pop_front();
  }
}

void FlightRecorder::drop_all() {
  writer_ = nullptr;
  for (const auto& part : parts_) part->dropped = true;
  parts_.clear();
}

Status FlightRecorder::add(const Event& event) {
  if (writer_ != nullptr) {
    if (Status status = writer_->add(event); !status.ok()) return status;
  }
  ++events_;
  return {};
}

void FlightRecorder::after(const Event& event, Companion& companion) {
  if (const std::string rule = companion.found(); !rule.empty()) {
    pull(std::string(kFindingCause) + '-' + rule);
  }
  const auto* error = std::get_if<ev::CudaError>(&event.body);
  if (error != nullptr) pull(std::string(kCudaErrorCause));
  // Adapters note what a guard found as "guard MODE: …", and what of it fails as "guard: …".
  const auto* note = std::get_if<ev::Note>(&event.body);
  if (note != nullptr && names_.text(note->text).starts_with("guard ")) {
    pull(std::string(kGuardCause));
  }
}

// What an error brings about again and again is in the trace that was made of its first; a person
// who sends a signal means it.
void FlightRecorder::pull(const std::string& cause) {
  const auto now = Clock::now();
  if (signal_of(cause) == 0) {
    const auto again = std::chrono::nanoseconds(options_.limits.ns);
    const auto last = std::ranges::find(pulled_, cause, &decltype(pulled_)::value_type::first);
    if (last == pulled_.end()) {
      pulled_.emplace_back(cause, now);
    } else if (options_.limits.ns == 0 || now - last->second < again) {
      return;
    } else {
      last->second = now;
    }
  }
  for (const Trigger& trigger : options_.triggers) {
    const bool same = trigger.cause == cause ||
                      (trigger.cause == kFindingCause && cause.starts_with(kFindingCause));
    if (same) act(trigger.act, cause);
  }
}

void FlightRecorder::act(Trigger::Act act, const std::string& cause) {
  switch (act) {
    case Trigger::Act::kStart:
      if (!std::exchange(recording_, true)) options_.say(trace_ + ": recording (" + cause + ')');
      break;
    case Trigger::Act::kDump:
      dump(cause);
      break;
    case Trigger::Act::kStop:
      dump(cause);
      drop_all();
      recording_ = false;
      break;
  }
}

// A trace of its own of what is kept now.
void FlightRecorder::dump(const std::string& cause) {
  if (parts_.empty()) return options_.say(trace_ + ": nothing is kept (" + cause + ')');
  if (Status status = flush(); !status.ok()) return options_.say(status.message());
  auto parts = parts_;
  // Of the part that goes on, what there is now.
  auto last = std::make_shared<Part>(*parts.back());
  last->events = writer_ == nullptr ? UINT64_MAX : writer_->events();
  const std::shared_ptr<Part> held = std::exchange(parts.back(), last);
  const std::string stem =
      trace_.substr(0, trace_.size() - kSuffix.size()) + '-' + cause + '-' + utc_now();
  std::string path = stem + std::string(kSuffix);
  for (int n = 2; ::access(path.c_str(), F_OK) == 0; ++n) {
    path = stem + '-' + std::to_string(n) + std::string(kSuffix);
  }
  worker_ = std::thread(
      [this, previous = std::move(worker_), parts = std::move(parts), held, path, cause]() mutable {
        if (previous.joinable()) previous.join();
        const Status status = make_trace(path, parts, cause);
        if (!status.ok()) options_.say(status.message());
      });
}

Status FlightRecorder::make_trace(const std::string& path, const Parts& parts,
                                  const std::string& cause) {
  Names names;
  Status status;
  const std::string unfinished = path + ".unfinished";
  const auto writer = create_trace(unfinished, names, {options_.zstd_level}, status);
  if (writer == nullptr) return status;
  const auto companion = options_.keyframes ? options_.keyframes(names) : nullptr;
  std::vector<FlightPart> files;
  for (const auto& part : parts) files.push_back(*part);
  std::uint64_t behind = 0;
  status = join_parts(files, names, *writer, companion.get(), behind);
  if (status.ok()) status = writer->close();
  if (status.ok() && std::rename(unfinished.c_str(), path.c_str()) != 0) {
    status = system_error(path + ": cannot be renamed into place");
  }
  if (!status.ok()) {
    ::unlink(unfinished.c_str());
    return status;
  }
  options_.say(path + ": the last " + std::to_string(behind - files.front().first) + " of " +
               std::to_string(behind) + " events" + (cause.empty() ? "" : " (" + cause + ')'));
  return {};
}

Status FlightRecorder::flush() { return writer_ != nullptr ? writer_->flush() : Status(); }

Status FlightRecorder::close() {
  if (writer_ != nullptr) {
    if (Status status = writer_->close(); !status.ok()) return status;
    writer_ = nullptr;
  }
  if (worker_.joinable()) worker_.join();
  if (parts_.empty()) return {};
  if (Status status = make_trace(trace_, parts_, ""); !status.ok()) return status;
  drop_all();
  return {};
}

std::uint64_t FlightRecorder::written() const {
  if (writer_ == nullptr) return events_;
  return parts_.back()->first + writer_->written() - parts_.back()->restated;
}

std::uint64_t FlightRecorder::bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& part : parts_) bytes += part->bytes;
  if (writer_ != nullptr) bytes += writer_->bytes() - parts_.back()->bytes;
  return bytes;
}

}  // namespace pagetape
