// SPDX-License-Identifier: Apache-2.0
#include "verify/fault.h"

#include <gmock/gmock.h>

namespace pagetape {
namespace {

using testing::HasSubstr;

TEST(ParseAddress, TakesWhatPeoplePaste) {
  EXPECT_EQ(parse_address("0x7f12_34567000"), 0x7f1234567000u);
  EXPECT_EQ(parse_address("7f1234567000"), 0x7f1234567000u);
  EXPECT_EQ(parse_address("0X10"), 16u);
  for (const char* text : {"", "0x", "0x12g", "-1", "0x1ffffffffffffffff", "12 "}) {
    EXPECT_EQ(parse_address(text), std::nullopt) << text;
  }
}

TEST(ParseFault, TheDriversLineTellsThePageOfTheAddress) {
  Fault fault;
  const Status status = parse_fault(
      "kernel: NVRM: Xid (PCI:0000:17:00): 31, pid=7, name=python3, Ch 0000000a, intr 00000000. "
      "MMU Fault: ENGINE GRAPHICS GPC1 GPCCLIENT_T1_3 faulted @ 0x7f12_34310000. Fault is of type "
      "FAULT_PDE ACCESS_TYPE_VIRT_WRITE\n",
      fault);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(fault.said_by, "Xid 31");
  EXPECT_EQ(fault.address, 0x7f1234310000u);
  EXPECT_EQ(fault.bytes, 4096u);
  EXPECT_EQ(fault.access, "write");
}

TEST(ParseFault, AnXidWithoutAnAddressIsSaid) {
  Fault fault;
  const Status status =
      parse_fault("NVRM: Xid (PCI:0000:17:00): 13, Graphics SM Warp Exception", fault);
  EXPECT_EQ(status.code(), Code::kUsage);
  EXPECT_THAT(std::string(status.message()), HasSubstr("Xid 13 tells no address"));
}

TEST(ParseFault, TheSanitizerTellsAccessKernelAndTheNearestAllocation) {
  Fault fault;
  const Status status = parse_fault(
      "========= Invalid __global__ read of size 16 bytes\n"
      "=========     at void decode<(int)64, bf16>(const T2 *, float)+0x1a50 in k.cu:7\n"
      "=========     by thread (32,0,0) in block (0,1,0)\n"
      "=========     Access to 0x1 is out of bounds\n"
      "=========     Address 0x7f1234310040 is out of bounds\n"
      "=========     and is 65,601 bytes after the nearest allocation at 0x7f1234000000 of size "
      "3,145,728 bytes\n",
      fault);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(fault.access, "read");
  EXPECT_EQ(fault.bytes, 16u);
  EXPECT_EQ(fault.kernel, "decode<(int)64, bf16>");
  EXPECT_EQ(fault.address, 0x7f1234310040u);
  ASSERT_TRUE(fault.nearest);
  EXPECT_EQ(fault.nearest->begin, 0x7f1234000000u);
  EXPECT_EQ(fault.nearest->bytes, 3145728u);
}

TEST(ParseFault, ACoreDumpTellsTheKernel) {
  Fault fault;
  const Status status = parse_fault(
      "CUDA Exception: Warp Illegal Address\n"
      "#0  0x00007f13b12a8f90 in decode<256, bf16><<<(1,2,1),(128,1,1)>>> ()\n",
      fault);
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(fault.kernel, "decode<256, bf16>");
  EXPECT_EQ(fault.address, std::nullopt);
}

TEST(ParseFault, WhatIsNoneIsRefusedWithWhatWasLookedFor) {
  for (const char* text : {"", "all is well", "CUDA Exception: ", "Invalid __", "NVRM: Xid"}) {
    Fault fault;
    EXPECT_EQ(parse_fault(text, fault).code(), Code::kUsage) << text;
  }
}

}  // namespace
}  // namespace pagetape
