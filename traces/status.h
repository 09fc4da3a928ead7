// SPDX-License-Identifier: Apache-2.0
// The channel for what the file or the system does wrong (a broken rule is a Finding, our own bug
// a CHECK: the three never mix).
#pragma once

#include <string>
#include <utility>

namespace pagetape {

enum class Code : int {
  kOk = 0,
  kUsage,    // Exit 2: wrong usage, unreadable file, a text line in error.
  kDamaged,  // Exit 3: the binary file is damaged; what was read before is good.
  kSystem,   // Exit 2: the operating system refused (disk full, no such folder).
};

// A result with a sentence for a person: what is wrong, where, and what was expected.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

inline Status usage(std::string message) { return {Code::kUsage, std::move(message)}; }
inline Status damaged(std::string message) { return {Code::kDamaged, std::move(message)}; }
inline Status system_error(std::string message) { return {Code::kSystem, std::move(message)}; }

}  // namespace pagetape
