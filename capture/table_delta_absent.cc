// SPDX-License-Identifier: Apache-2.0
#include "capture/device_compare.h"

namespace pagetape {

std::unique_ptr<DeviceCompare> DeviceCompare::create(const TableView&, TableMemory&,
                                                     Status& status) {
  status = usage("built without CUDA: no tables of a device");
  return nullptr;
}

Status DeviceCompare::compare_all(std::span<const Part>, void*, bool&) {
  return usage("built without CUDA: no tables of a device");
}

}  // namespace pagetape
