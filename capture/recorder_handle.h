// SPDX-License-Identifier: Apache-2.0
// What the functions of the C interface share.
#pragma once

#include <memory>
#include <string>

#include "capture/recorder.h"

struct ptape_recorder {
  std::unique_ptr<pagetape::Recorder> recorder;
};

namespace pagetape {

// Keeps the sentence for ptape_last_error of this thread; PTAPE_E_ARGUMENT.
int argument_error(std::string what);

}  // namespace pagetape

#define PTAPE_NEEDS(recorder) \
  if ((recorder) == nullptr) return pagetape::argument_error("the recorder is null")
