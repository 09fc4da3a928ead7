// SPDX-License-Identifier: Apache-2.0
#include "capture/guard.h"

namespace pagetape {

std::unique_ptr<Guard> Guard::on_device(Status& status) {
  status = usage("built without CUDA: no guard of a device");
  return nullptr;
}

}  // namespace pagetape
