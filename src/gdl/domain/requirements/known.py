"""The kinds of models (`model_type` of their text part) whose layers and weights we count as they
are. Any other is counted as a plain transformer, and said to be."""

from __future__ import annotations

_MODEL_TYPES = """
    afmoe apertus arcee axk1 bailing_hybrid bailing_moe bailing_moe_v2 bloom chatglm cohere
    cohere2 cohere2_moe cwm deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5 ernie4_5_moe
    exaone exaone4 exaone4_5 exaone_moe falcon falcon_h1 falcon_mamba flex_olmo gemma gemma2
    gemma3 gemma3n gemma4 glm glm4 glm4_moe glm4_moe_lite glm4v glm4v_moe glm_moe_dsa gpt2
    gpt_bigcode gpt_neox gpt_oss gptj granite granite_swa granitemoe granitemoe_swa
    granitemoehybrid granitemoeshared hunyuan_v1_dense hunyuan_v1_moe hy_v3 internlm2
    internlm3 jais2 jamba kimi_k2 kimi_linear laguna lfm2 lfm2_moe lfm2_vl llama llama4
    mamba mamba2 mimo mimo_v2 mimo_v2_flash minicpm deepseek_v4 minimax_m2 minimax_m3 minimax_m3_vl
    ministral3 mistral mistral3 mistral4 mixtral muse_glimmer nemotron nemotron-nas
    nemotron_h olmo olmo2 olmo3 olmo_hybrid olmoe opt orion phi phi3 phimoe qwen2 qwen2_5_vl
    qwen2_moe qwen2_vl qwen3 qwen3_5 qwen3_5_moe qwen3_moe qwen3_next qwen3_omni_moe
    qwen3_vl qwen3_vl_moe seed_oss smollm3 solar solar_open stablelm starcoder2 step3p5
    whisper
"""
KNOWN = frozenset(_MODEL_TYPES.split())
