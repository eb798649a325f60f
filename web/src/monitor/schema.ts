// Made by make_types.mjs from docs/reference/monitor.schema.json, which says what each member means.

export type Ms = number;

export type State = "waiting" | "loading" | "prefill" | "decode" | "paused" | "preempted" | "stop" | "length" | "context_full" | "cancelled" | "failed";

export type Quantiles = [number | null, number | null];

export type Hello = {
  v: 1;
  origin?: "metrics";
  server: {
    version: string;
    commit?: string;
    instance: string;
    up_ms: number;
  };
  t_ms: Ms;
  unix_ms: number;
  machine: {
    isa: string;
    cores: number;
    limit_gbs: number | null;
    limit_gmacs: number | null;
    measured_at: number | null;
  };
  model: {
    id: string;
    layers: number;
    ctx: number;
    type: string;
    parameters: number;
    weight_bytes: number;
  };
  kv: {
    blocks: number;
    block_tokens: number;
    block_bytes: number;
    tiers: ("memory" | "disk")[];
  };
  target: {
    itl_ms: number;
  };
  text?: number;
  hz: number;
  power: string;
};

export type Frame = {
  seq: number;
  t_ms: Ms;
  tok: {
    dec: number;
    pre: number;
    rec: number;
    spec: number;
  };
  roof: {
    gbs: number;
    gmacs: number;
    busy: number;
    bound: "idle" | "memory" | "compute" | "unknown";
  };
  q: {
    run: number;
    wait: number;
    preempted: number;
  };
  lat: {
    ttft: Quantiles;
    itl: Quantiles;
  };
  kv: {
    free: number;
    live: number;
    shared: number;
    cached: number;
    pinned: number;
    disk: number;
  };
  total: {
    steps: number;
    dec: number;
    prompt: number;
    cached: number;
    us: number;
    pred_us: number;
    bytes: number;
  };
  power_w?: number;
  lost: number;
};

export type Steps = {
  first: number;
  t: (number)[];
  us: (number)[];
  pred: (number)[];
  bytes: (number)[];
  macs: (number)[];
  run: (number)[];
  wait: (number)[];
  evict: (number)[];
  n: (number)[];
  rows: (number)[];
};

export type Kvmap = {
  t_ms: Ms;
  blocks: number;
  bin: number;
  runs: (number)[];
  counts: (number)[];
};

export type Row = [number, number, State, number, number, number, number, number | null, number | null, number | null, number, [Ms | null, Ms | null, Ms | null, Ms | null, Ms | null]];

export type Reqs = {
  rows: (Row)[];
};

export type Keys = {
  rows: ({
    key: number;
    label: string;
    run: number;
    wait: number;
    share: number;
    served: number;
    deficit: number;
    wait50: number | null;
    wait99: number | null;
  })[];
};

export type Snapshot = {
  hello: Hello;
  frame: Frame;
  steps: Steps;
  kvmap: Kvmap;
  reqs: Reqs;
  keys: Keys;
};

export type History = {
  step_s: 1 | 10;
  t_ms: Ms;
  n: number;
  mean: {
    dec: (number | null)[];
    pre: (number | null)[];
    busy: (number | null)[];
    gbs: (number | null)[];
    gmacs: (number | null)[];
    run: (number | null)[];
    wait: (number | null)[];
    kv: (number | null)[];
    power_w: (number | null)[];
  };
  min?: {
    dec: (number | null)[];
    pre: (number | null)[];
    busy: (number | null)[];
    gbs: (number | null)[];
    gmacs: (number | null)[];
    run: (number | null)[];
    wait: (number | null)[];
    kv: (number | null)[];
    power_w: (number | null)[];
  };
  max?: {
    dec: (number | null)[];
    pre: (number | null)[];
    busy: (number | null)[];
    gbs: (number | null)[];
    gmacs: (number | null)[];
    run: (number | null)[];
    wait: (number | null)[];
    kv: (number | null)[];
    power_w: (number | null)[];
  };
  lat: {
    ttft50: (number | null)[];
    ttft99: (number | null)[];
    itl50: (number | null)[];
    itl99: (number | null)[];
  };
  evict: (number)[];
};

export type Prefixes = {
  t_ms: Ms;
  block_tokens: number;
  block_bytes: number;
  blocks: number;
  left_out: number;
  nodes: ({
    id: number;
    parent: number;
    hash: string;
    key: number;
    tokens: number;
    depth: number;
    bytes: number;
    hits: number;
    used_ms: Ms;
    held: number;
  })[];
};

export type Request = {
  row: Row;
  label: string;
  spans: ([Ms, number, number, number, number | null])[];
  gaps: ([Ms, number, "step" | "paused" | "preempted", number | null])[];
  late_ms: number;
  late: number;
  wait: {
    ahead: number | null;
    evictions: number;
  };
  complete: boolean;
  text?: [string, string];
};

export type Own = {
  t_ms: Ms;
  label: string;
  rows: (Row)[];
};

export type Texts = {
  rows: ([number, string, string])[];
};

export type Plan = {
  t_ms: Ms;
  device: string;
  kernel: string;
  threads: number;
  limit_gbs: number | null;
  limit_gmacs: number | null;
  weight_bytes: number;
  workspace_bytes: number;
  rows: ({
    layer: number;
    op: "begin" | "embed" | "attention_in" | "attention" | "attention_out" | "ffn_in" | "ffn_out" | "head" | "sample";
    what: string;
    weight_bytes: number;
    token_macs: number;
    calls: number;
    ms: number;
    bytes: number;
    macs: number;
  })[];
};

export type Tiers = {
  t_ms: Ms;
  block_tokens: number;
  prompt_tokens: number;
  computed_tokens: number;
  memory: {
    blocks: number;
    bytes: number;
    block_bytes: number;
    free: number;
    held: number;
    cached: number;
    also_on_disk: number;
    hit_tokens: number;
  };
  disk: {
    blocks: number;
    bytes: number;
    limit_bytes: number;
    written: number;
    dropped: number;
    damaged: number;
    write_errors: number;
    hit_tokens: number;
  } | null;
};

export type Doctor = {
  t_ms: Ms;
  findings: ({
    name: string;
    status: "ok" | "warn";
    value: string;
    advice: string;
    live: boolean;
  })[];
};

export type Log = {
  last: number;
  lines: ({
    n: number;
    t_ms: Ms;
    level: "info" | "warn" | "error";
    event: "started" | "model_warning" | "option" | "reply" | "preempted" | "disk_blocks_damaged" | "disk_write_errors" | "draining";
    facts: Record<string, string | number>;
  })[];
};

export type Event = {
  event: "hello";
  data: Hello;
  at_ms?: number;
} | {
  event: "frame";
  data: Frame;
  at_ms?: number;
} | {
  event: "steps";
  data: Steps;
  at_ms?: number;
} | {
  event: "kvmap";
  data: Kvmap;
  at_ms?: number;
} | {
  event: "reqs";
  data: Reqs;
  at_ms?: number;
} | {
  event: "keys";
  data: Keys;
  at_ms?: number;
};
