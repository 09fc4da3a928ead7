// SPDX-License-Identifier: Apache-2.0
#include "verify/fault.h"

#include <algorithm>
#include <charconv>

namespace pagetape {
namespace {

constexpr std::uint64_t kDriverGrain = 4096;  // The driver reports the address of its page.

// What follows on `key`; nothing where it does not stand there.
std::optional<std::string_view> after(std::string_view text, std::string_view key) {
  const std::size_t at = text.find(key);
  if (at == std::string_view::npos) return std::nullopt;
  return text.substr(at + key.size());
}

std::string_view before(std::string_view text, std::string_view ends) {
  return text.substr(0, text.find_first_of(ends));
}

// A count, with or without commas: "1,024".
std::uint64_t count_in(std::string_view text) {
  std::string digits;
  for (const char c : text) {
    if (c >= '0' && c <= '9') {
      digits += c;
    } else if (c != ',') {
      break;
    }
  }
  std::uint64_t value = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return value;
}

// An address in a sentence.
std::optional<std::uint64_t> address_in(std::string_view text) {
  text.remove_prefix(std::min(text.size(), text.find_first_not_of(' ')));
  return parse_address(before(text, " \t,.;)\n"));
}

// One line, without the marks that compute-sanitizer begins its lines with.
std::string flattened(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = c == '=' || c == '\n' || c == '\r' || c == '\t' || c == ' ';
    if (!blank) out += c;
    if (blank && !out.empty() && out.back() != ' ') out += ' ';
  }
  return out;
}

// "void paged<64, bf16>(float*, int)+0x70 in x.cu:7" becomes "paged<64, bf16>".
std::string kernel_name(std::string_view said) {
  int depth = 0;
  std::size_t end = 0;
  for (; end < said.size(); ++end) {
    const char c = said[end];
    const bool launch = said.substr(end).starts_with("<<<");  // cuda-gdb's grid and block.
    if (depth == 0 && (c == '(' || c == '+' || launch)) break;
    depth += (c == '<' ? 1 : 0) - (c == '>' ? 1 : 0);
    // A word apart from what returns: "void f", "f in x.cu".
    if (depth == 0 && c == ' ' && said.substr(0, end) != "void") break;
  }
  said = said.substr(0, end);
  if (said.starts_with("void ")) said.remove_prefix(5);
  return std::string(said);
}

Status parse_xid(std::string_view text, Fault& fault) {
  const std::string_view line = before(*after(text, "Xid"), "\n");
  const auto number = after(line, "): ");
  const std::uint64_t xid = count_in(number.value_or(line));
  fault.said_by = "Xid " + std::to_string(xid);
  const auto at = after(line, "faulted @ ");
  fault.address = at ? address_in(*at) : std::nullopt;
  if (!fault.address) {
    return usage(fault.said_by + " tells no address; Xid 31 does, as \"MMU Fault: ... faulted @ " +
                 "0x7f12_34567000\"");
  }
  fault.bytes = *fault.address % kDriverGrain == 0 ? kDriverGrain : 1;
  if (const auto access = after(line, "ACCESS_TYPE_")) {
    const std::string_view word = before(*access, " ,.\n");
    fault.access = word.ends_with("READ")             ? "read"
                   : word.ends_with("WRITE")          ? "write"
                   : word.find("ATOMIC") != word.npos ? "atomic"
                                                      : "";
  }
  return {};
}

Status parse_sanitizer(std::string_view whole, Fault& fault) {
  const std::string text = flattened(whole);
  const std::string_view said = *after(text, "Invalid __");  // "global__ read of size 2 bytes …"
  fault.said_by = "compute-sanitizer";
  for (const char* access : {"read", "write", "atomic"}) {
    const auto size = after(said, std::string("__ ") + access + " of size ");
    if (!size) continue;
    fault.access = access;
    fault.bytes = std::max<std::uint64_t>(count_in(*size), 1);
    break;
  }
  if (const auto at = after(said, " at ")) fault.kernel = kernel_name(*at);
  if (const auto at = after(said, "Address ")) fault.address = address_in(*at);
  if (!fault.address) return usage("compute-sanitizer's report has no \"Address 0x...\"");
  const auto nearest = after(said, "the nearest allocation at ");
  const auto size = nearest ? after(*nearest, "of size ") : std::nullopt;
  const auto begin = nearest ? address_in(*nearest) : std::nullopt;
  if (begin && size) fault.nearest = Allocation{*begin, count_in(*size)};
  return {};
}

// The frame on which cuda-gdb stands: "#0  0x00007f1234 in kernel<<<(8,1,1),(128,1,1)>>> ()".
Status parse_core_dump(std::string_view text, Fault& fault) {
  fault.said_by = "the core dump";
  std::string_view rest = text;
  for (auto line = after(rest, "#0"); line; line = after(rest, "#0")) {
    rest = *line;
    std::string_view frame = before(rest, "\n");
    frame.remove_prefix(std::min(frame.size(), frame.find_first_not_of(' ')));
    if (const auto in = after(frame, " in "); in && frame.starts_with("0x")) frame = *in;
    if (frame.find("<<<") == std::string_view::npos) continue;  // A row of another table.
    fault.kernel = kernel_name(frame);
    break;
  }
  if (const auto at = after(text, "llegal access to address (@global)")) {
    fault.address = address_in(before(*at, "\n"));
  }
  if (fault.kernel.empty() && !fault.address) {
    return usage(
        "the core dump's text names no kernel: print a backtrace (`bt`), whose line #0 "
        "has \"kernel<<<(8,1,1),(128,1,1)>>>\"");
  }
  return {};
}

}  // namespace

std::optional<std::uint64_t> parse_address(std::string_view text) {
  std::string digits;
  if (text.starts_with("0x") || text.starts_with("0X")) text.remove_prefix(2);
  std::ranges::remove_copy(text, std::back_inserter(digits), '_');
  std::uint64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

Status parse_fault(std::string_view text, Fault& fault) {
  fault = {};
  if (after(text, "NVRM: Xid")) return parse_xid(text, fault);
  if (after(text, "Invalid __")) return parse_sanitizer(text, fault);
  if (after(text, "CUDA Exception") || after(text, "CUDA_EXCEPTION") || after(text, "<<<")) {
    return parse_core_dump(text, fault);
  }
  return usage(
      "no fault in it: neither the driver's \"NVRM: Xid\", nor compute-sanitizer's "
      "\"Invalid __global__ read\", nor cuda-gdb's \"CUDA Exception\"");
}

}  // namespace pagetape
