// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "capture/example/example_engine.h"

int main(int argc, char** argv) {
  ExampleOptions options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--bad-id") {
      options.bad_id = true;
    } else if (argument == "--guard") {
      options.guarded = true;
    } else if (argument == "--steps" && i + 1 < argc) {
      options.steps = std::atoi(argv[++i]);
    } else {
      options.trace = argument;
    }
  }
  if (options.trace.empty()) {
    std::fprintf(stderr, "usage: example_engine [--bad-id] [--guard] [--steps N] TRACE\n");
    return 2;
  }
  const ExampleResult result = run_example(options);
  if (!result.error.empty()) {
    std::fprintf(stderr, "example_engine: %s\n", result.error.c_str());
    return 2;
  }
  std::printf("%d launches, %d page ids outside the pool\n", result.launches, result.outside);
  if (result.findings > 0) {
    std::printf("the guard found %d; the first: %s\n", result.findings, result.first.c_str());
  }
  return 0;
}
