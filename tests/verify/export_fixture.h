// SPDX-License-Identifier: Apache-2.0
// What exporters write, read again.
#pragma once

#include <fstream>
#include <string>

#include "tests/verify/verify_fixture.h"
#include "verify/output_file.h"

namespace pagetape {

inline std::string text_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace pagetape
