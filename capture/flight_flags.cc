// SPDX-License-Identifier: Apache-2.0
#include "capture/flight_flags.h"

#include <signal.h>

#include <algorithm>
#include <charconv>

namespace pagetape {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t factor;
  bool is_time;
};
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr Unit kUnits[] = {
    {"s", kSecond, true},       {"min", 60 * kSecond, true}, {"h", 3600 * kSecond, true},
    {"kB", 1'000, false},       {"MB", 1'000'000, false},    {"GB", 1'000'000'000, false},
    {"KiB", 1ull << 10, false}, {"MiB", 1ull << 20, false},  {"GiB", 1ull << 30, false},
};

struct Signal {
  std::string_view cause;
  int number;
};
constexpr Signal kSignals[] = {{"usr1", SIGUSR1}, {"usr2", SIGUSR2}};

struct ActName {
  std::string_view name;
  Trigger::Act act;
};
constexpr ActName kActs[] = {
    {"start", Trigger::Act::kStart}, {"stop", Trigger::Act::kStop}, {"dump", Trigger::Act::kDump}};

}  // namespace

Status parse_last(std::string_view text, FlightLimits& limits) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  const auto known = std::ranges::find(kUnits, unit, &Unit::name);
  if (error != std::errc() || known == std::end(kUnits) || number == 0 ||
      number > INT64_MAX / known->factor) {
    return usage("'" + std::string(text) +
                 "' is no time (90s, 10min, 2h) and no size (512MB, 2GiB)");
  }
  (known->is_time ? limits.ns : limits.bytes) = number * known->factor;
  return {};
}

Status parse_trigger(std::string_view text, Trigger& trigger) {
  const std::size_t equals = text.find('=');
  const std::string_view cause = text.substr(0, equals);
  const std::string_view act = equals == text.npos ? "" : text.substr(equals + 1);
  const auto known = std::ranges::find(kActs, act, &ActName::name);
  const bool is_cause = signal_of(cause) != 0 || cause == kCudaErrorCause ||
                        cause == kFindingCause || cause == kGuardCause;
  if (!is_cause || known == std::end(kActs)) {
    return usage("'" + std::string(text) +
                 "' is not usr1, usr2, cuda-error, finding or guard, then =start, =stop or =dump");
  }
  trigger = {std::string(cause), known->act};
  return {};
}

int signal_of(std::string_view cause) {
  const auto known = std::ranges::find(kSignals, cause, &Signal::cause);
  return known == std::end(kSignals) ? 0 : known->number;
}

}  // namespace pagetape
