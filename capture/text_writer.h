// SPDX-License-Identifier: Apache-2.0
// A trace in the text form, written event by event.
#pragma once

#include <memory>
#include <string>

#include "traces/names.h"
#include "traces/status.h"
#include "traces/writer.h"

namespace pagetape {

// As create_trace, for the text form, which has no keyframes: those given are left out.
std::unique_ptr<Writer> create_text_trace(const std::string& path, const Names& names,
                                          Status& status);

}  // namespace pagetape
