// SPDX-License-Identifier: Apache-2.0
// Functions of the C interface as CPython calls its own. Nothing of Python is linked or included:
// what is needed of it are three functions, whose addresses the package brings.
#include <cstddef>
#include <cstdint>

#include "capture/pagetape_capture.h"
#include "capture/process.h"

namespace {

struct Python {
  long long (*as_number)(void* object);
  void* (*of_number)(long long number);
  void* (*error)();
};
Python python{};  // Set before the first call.

// A whole number or an address is passed in the same way on the machines that this is built for,
// what is passed beyond a function's own arguments is not looked at, and of those that are
// narrower the rest is not either.
constexpr std::ptrdiff_t kArguments = 10;
using Number = std::int64_t;
using Function = Number (*)(Number, Number, Number, Number, Number, Number, Number, Number, Number,
                            Number);

}  // namespace

extern "C" {

void ptape_python_api(const ptape_python* api) {
  python = {reinterpret_cast<long long (*)(void*)>(api->as_number),
            reinterpret_cast<void* (*)(long long)>(api->of_number),
            reinterpret_cast<void* (*)()>(api->error)};
}

void* ptape_python_call(void* self, void* const* arguments, std::ptrdiff_t n) {
  const auto* called = reinterpret_cast<const ptape_python_called*>(python.as_number(self));
  if (n > kArguments) return python.of_number(PTAPE_E_ARGUMENT);
  Number a[kArguments] = {};
  for (std::ptrdiff_t i = 0; i < n; ++i) {
    a[i] = python.as_number(arguments[i]);
    if (a[i] == -1 && python.error() != nullptr) return nullptr;
  }
  if (called->borrow != 0) {
    const ptape_recorder* recorder = pagetape::borrow();
    if (recorder == nullptr || reinterpret_cast<Number>(recorder) != a[0]) {
      if (recorder != nullptr) pagetape::give_back();
      return python.of_number(1);
    }
  }
  const Number result = reinterpret_cast<Function>(called->function)(a[0], a[1], a[2], a[3], a[4],
                                                                     a[5], a[6], a[7], a[8], a[9]);
  if (called->borrow != 0) pagetape::give_back();
  return python.of_number(called->wide != 0 ? result : static_cast<std::int32_t>(result));
}

}  // extern "C"
