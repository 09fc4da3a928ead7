// SPDX-License-Identifier: Apache-2.0
// An engine in C++ that records itself: what to call, and where. It computes no attention; its
// pool, page table and lengths are in memory of the host, and the same calls take those of a GPU
// (`on_host` 0, and the stream in the place of the null pointers).
#pragma once

#include <string>

struct ExampleOptions {
  std::string trace;  // The file to write: .ptape, or .jsonl for the text form.
  int steps = 40;
  bool bad_id = false;   // In step 20 a table entry is written that no page has.
  bool guarded = false;  // Launches get the guard's copy of the table.
};

struct ExampleResult {
  std::string error;  // "" where the recorder did all that it was asked.
  int findings = 0;   // Of the guard.
  std::string first;  // The first of them, in words.
  int launches = 0;
  int outside = 0;  // Page ids that launches were given and that no page has.
};

ExampleResult run_example(const ExampleOptions& options);
