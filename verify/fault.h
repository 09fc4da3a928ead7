// SPDX-License-Identifier: Apache-2.0
// What the driver, a debugger or a checker says of a memory fault on the device.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "traces/status.h"

namespace pagetape {

struct Allocation {
  std::uint64_t begin = 0, bytes = 0;
};

// A copyable value; what is not said is empty.
struct Fault {
  std::string said_by;  // "Xid 31", "compute-sanitizer", "the core dump", "--address".
  std::optional<std::uint64_t> address;
  // Bytes from the address on, of which one at least was touched: the driver knows the 4 KiB.
  std::uint64_t bytes = 1;
  std::string access;                 // read, write, atomic.
  std::string kernel;                 // Without its parameters.
  std::optional<Allocation> nearest;  // That the address is outside of.
};

// Reads the first fault in a text: an NVRM line of Xid 31, a report of compute-sanitizer's
// memcheck, or what cuda-gdb prints of a GPU core dump (which has no data address, but the kernel).
// kUsage where there is none, with what was looked for; kUsage for an Xid that tells no address.
Status parse_fault(std::string_view text, Fault& fault);

// "0x7f12_34567000", with or without 0x and the underscore; nothing where it is no such number.
std::optional<std::uint64_t> parse_address(std::string_view text);

}  // namespace pagetape
