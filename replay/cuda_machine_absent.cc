// SPDX-License-Identifier: Apache-2.0
// What stands in for cuda_machine.cu where the program was built without a CUDA toolkit.
#include "replay/machine.h"

namespace pagetape {

std::vector<GpuInfo> gpus(Status& status) {
  status = usage("no GPU can be used: this program was built without CUDA");
  return {};
}

std::unique_ptr<Machine> make_cuda_machine(int, Status& status) {
  gpus(status);
  return nullptr;
}

}  // namespace pagetape
