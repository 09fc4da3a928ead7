// SPDX-License-Identifier: Apache-2.0
#include "capture/sim/setup.h"

#include <string>
#include <vector>

namespace pagetape::sim {
namespace {

constexpr long long kElementBytes = 2;  // bf16

struct PoolPart {
  const char* name;
  const char* kind;
  long long pages, heads, dim, layers;

  long long page_bytes(const Model& model) const {
    return model.page_size * heads * dim * kElementBytes;
  }
  long long bytes(const Model& model) const {
    return 2 * layers * pages * page_bytes(model);  // K and V
  }
};

std::vector<PoolPart> pool_parts(const Model& model) {
  const int full_layers = model.layers / model.full_every;
  return {{"F", "full", model.full_pages, model.kv_heads_full, model.head_dim_full, full_layers},
          {"S", "swa", model.swa_pages, model.kv_heads_swa, model.head_dim_swa,
           model.layers - full_layers},
          // A frozen draft stores nothing: its own pool has one page beside the reserved one.
          {"D", "full", 2, 4, 256, 4}};
}

void write_pools(Tape& tape, const Config& config) {
  const Model& model = *config.model;
  long long begin = 0, total = 0;
  const std::vector<PoolPart> parts = pool_parts(model);
  for (const PoolPart& part : parts) total += part.bytes(model);
  tape.json(format(R"({"ev":"arena","arena":"kv","bytes":%lld})", total));
  for (const PoolPart& part : parts) {
    tape.json(format(
        R"({"ev":"pool","pool":"%s","pages":%lld,"page_size":%d,"kind":"%s",)"
        R"("reserved":[{"page":0,"role":"pad"}],"page_bytes":%lld,"offset_bits":64,"layers":%lld,)"
        R"("layout":"NHD","kv_heads":%lld,"head_dim":%lld,"dtype":"bfloat16"})",
        part.name, part.pages, model.page_size, part.kind, part.page_bytes(model), part.layers,
        part.heads, part.dim));
    const bool overlap = config.bug == Bug::kExtentsOverlap && begin > 0 && begin < total;
    const long long from = overlap && part.name[0] == 'S' ? begin - part.page_bytes(model) : begin;
    tape.json(format(R"({"ev":"extent","arena":"kv","owner":"%s","begin":%lld,"end":%lld})",
                     part.name, from, begin + part.bytes(model)));
    tape.json(format(R"({"ev":"view","object":"%s.pages","allocator":%lld,"kernel":%lld})",
                     part.name, part.pages, part.pages));
    begin += part.bytes(model);
  }
  tape.json(R"({"ev":"pool_set","set":"W","pools":["F","S"]})");
  tape.json(R"({"ev":"map","map":"F>S","from":"F","to":"S","unit":"page"})");
}

// Where each layer's K and V lie, for joining the address of a fault to a page.
void write_layers(Tape& tape, const Model& model) {
  constexpr long long kBase = 0x7f0000000000;
  const std::vector<PoolPart> parts = pool_parts(model);
  long long next[2] = {kBase, kBase + parts[0].bytes(model)};
  for (int layer = 0; layer < model.layers; ++layer) {
    const int which = model.is_full(layer) ? 0 : 1;
    const PoolPart& part = parts[static_cast<std::size_t>(which)];
    const long long bytes = part.pages * part.page_bytes(model);
    tape.json(format(R"({"ev":"pool_layer","pool":"%s","layer":%d,"k_ptr":%lld,"v_ptr":%lld,)"
                     R"("shape":[%lld,%lld,%d,%lld],"stride":[%lld,%lld,%lld,1]})",
                     part.name, layer, next[which], next[which] + bytes, part.pages, part.heads,
                     model.page_size, part.dim, model.page_size * part.heads * part.dim, part.dim,
                     part.heads * part.dim));
    next[which] += 2 * bytes;
  }
}

void write_buffers(Tape& tape, const Config& config) {
  std::vector<std::string> tables = {"target.page_table", "target.swa_page_table",
                                     "draft.page_table"};
  if (!draft_is_stale(config.bug)) tables.push_back("draft.swa_page_table");
  if (config.bug == Bug::kClamp) tables.push_back("draft.clamped_page_table");
  const long long rows = config.concurrency;
  for (const std::string& table : tables) {
    tape.json(format(R"({"ev":"buffer","buffer":"%s","rows":%lld,"cols":%d})", table.c_str(), rows,
                     config.model->context_pages));
  }
  for (const char* lens : {"target.cache_seqlens", "draft.cache_seqlens"}) {
    tape.json(format(R"({"ev":"buffer","buffer":"%s","rows":%lld})", lens, rows));
  }
  tape.json(format(R"({"ev":"buffer","buffer":"req_to_token","rows":%lld,"cols":%lld})", rows + 1,
                   1LL * config.model->context_pages * config.model->page_size));
}

void write_backends(Tape& tape, const Model& model) {
  std::vector<std::int32_t> swa, full;
  for (int layer = 0; layer < model.layers; ++layer) {
    (model.is_full(layer) ? full : swa).push_back(layer);
  }
  tape.json(R"({"ev":"backend","backend":"target","role":"target","class":"TRTLLMHAAttnBackend"})");
  ptape_pool_swap(tape.recorder(), tape.at(), tape.target, swa.data(), swa.size(), tape.swa,
                  tape.set);
  ptape_pool_swap(tape.recorder(), tape.at(), tape.target, full.data(), full.size(), tape.full,
                  tape.set);
  ptape_swa_state(tape.recorder(), tape.at(), tape.target, 1, tape.swa, tape.set);
  tape.json(R"({"ev":"cached","backend":"target","attr":"req_to_token",)"
            R"("derived_from":"req_to_token"})");
  tape.json(R"({"ev":"backend","backend":"draft","role":"draft","class":"TRTLLMHAAttnBackend"})");
  const ptape_name own = tape.name("D");
  ptape_pool_swap(tape.recorder(), tape.at(), tape.draft, nullptr, 0, own, 0);
  ptape_swa_state(tape.recorder(), tape.at(), tape.draft, 0, 0, own);
  for (int i = 0; i < 4; ++i) {
    tape.json(format(R"({"ev":"layer_remap","backend":"draft","layer":"a%d","to":%d})", i,
                     i < 3 ? model.draft_swa_layer : model.draft_full_layer));
  }
}

}  // namespace

void write_setup(Tape& tape, const Config& config) {
  const Model& model = *config.model;
  tape.json(format(
      R"({"ev":"header","format":1,"engine":"pagetape-sim","model":"%s",)"
      R"("records":["header","pool","pool_layer","arena","extent","view","buffer","map",)"
      R"("pool_set","backend","pool_swap","swa_state","cached","layer_remap","version","alloc",)"
      R"("share","free","evict","fill","prefix_key","prefix_hit","prefix_drop","map_set",)"
      R"("map_clear","map_free","free_count","request",%s"table","lens","attention","store",)"
      R"("async_begin","async_end","graph_capture","refresh","graph_launch",%s"step","end"]})",
      std::string(model.name).c_str(), config.lean ? "" : R"("accept","rewind",)",
      config.live ? R"("launch_done",)" : ""));
  write_pools(tape, config);
  write_layers(tape, model);
  write_buffers(tape, config);
  write_backends(tape, model);
}

}  // namespace pagetape::sim
