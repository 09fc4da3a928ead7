// SPDX-License-Identifier: Apache-2.0
// Which request of one recording is which of another: engines name them anew in each run.
#pragma once

#include <functional>
#include <string>

#include "traces/status.h"
#include "verify/meaning.h"

namespace pagetape {

// Requests and caches of the same name are the same. Of the others, first those that begin alike
// are matched, in the order in which they come, then what is left, in that order. Afterwards
// `aliases` gives the good trace's name of each request of the bad one that has another there.
// `goes_on`, which may be empty, is asked now and then; where it says no, that is the status.
Status match_requests(const std::string& good, const std::string& bad,
                      const std::function<bool(EventIndex)>& goes_on, Aliases& aliases);

}  // namespace pagetape
