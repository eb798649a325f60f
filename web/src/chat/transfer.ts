// Export and import of conversations as one JSON file. Imported files are checked member by member: they come from
// anywhere. A conversation that is here already is taken in under a new id, so an import never overwrites.
import type { Conversation, Message, Sampling, Store } from './store';
import { newId } from './store';

interface Exported {
  conversation: Conversation;
  messages: Message[];
}

const kFormat = 'serval-conversations';

export async function exportAll(store: Store, only?: string): Promise<string> {
  const conversations: Exported[] = [];
  for (const conversation of await store.conversations()) {
    if (only !== undefined && conversation.id !== only) continue;
    conversations.push({ conversation, messages: await store.messages(conversation.id) });
  }
  return JSON.stringify({ format: kFormat, version: 1, exported: new Date().toISOString(), conversations }, null, 1);
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new Error(`${what} is not a text`);
  return value;
}

function time(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) ? value : Date.now();
}

const kSampling: (keyof Sampling)[] = ['temperature', 'top_k', 'top_p', 'min_p', 'repeat_penalty', 'presence_penalty', 'frequency_penalty', 'max_tokens', 'seed'];

function sampling(value: unknown): Sampling {
  const out: Sampling = {};
  for (const name of kSampling) {
    const number = (value as Record<string, unknown> | undefined)?.[name];
    if (typeof number === 'number') out[name] = number;
  }
  return out;
}

function message(value: unknown, conversation: string, ids: Map<string, string>): Message {
  const m = value as Record<string, unknown>;
  if (m.role !== 'user' && m.role !== 'assistant') throw new Error('a message has no role');
  const states = ['done', 'writing', 'stopped', 'length', 'failed'] as const;
  const out: Message = {
    id: ids.get(text(m.id, 'id'))!,
    conversation,
    parent: typeof m.parent === 'string' ? (ids.get(m.parent) ?? null) : null,
    role: m.role,
    text: text(m.text, 'text'),
    created: time(m.created),
    state: states.find((s) => s === m.state) ?? 'done',
  };
  if (Array.isArray(m.attachments)) {
    out.attachments = m.attachments.map((a) => ({ name: text(a?.name, 'name'), text: text(a?.text, 'text') }));
  }
  const stats = m.stats as Record<string, unknown> | undefined;
  if (stats && typeof stats === 'object') {
    const number = (name: string) => (typeof stats[name] === 'number' ? (stats[name] as number) : 0);
    out.stats = { tokens: number('tokens'), perSecond: number('perSecond'), firstMs: number('firstMs'), promptTokens: number('promptTokens'), cachedTokens: number('cachedTokens') };
  }
  if (typeof m.error === 'string') out.error = m.error;
  return out;
}

function one(value: unknown, taken: Set<string>): Exported {
  const entry = value as { conversation?: Record<string, unknown>; messages?: unknown };
  const c = entry?.conversation;
  if (!c || !Array.isArray(entry.messages)) throw new Error('a conversation is incomplete');
  const given = text(c.id, 'id');
  const id = taken.has(given) ? newId() : given;
  // Messages keep their ids unless the conversation changed its own.
  const ids = new Map<string, string>();
  for (const m of entry.messages) ids.set(text(m?.id, 'id'), id === given ? m.id : newId());
  const messages = entry.messages.map((m) => message(m, id, ids));
  return {
    conversation: {
      id,
      title: text(c.title, 'title').slice(0, 200),
      created: time(c.created),
      updated: time(c.updated),
      leaf: typeof c.leaf === 'string' ? (ids.get(c.leaf) ?? null) : null,
      system: typeof c.system === 'string' ? c.system : '',
      sampling: sampling(c.sampling),
    },
    messages,
  };
}

// Everything is read before anything is written. Returns how many conversations came in.
export async function importAll(store: Store, file: string): Promise<number> {
  const parsed = JSON.parse(file);
  if (parsed?.format !== kFormat || !Array.isArray(parsed.conversations)) throw new Error('it was not exported here');
  const taken = new Set((await store.conversations()).map((c) => c.id));
  const entries = (parsed.conversations as unknown[]).map((value) => one(value, taken));
  for (const entry of entries) await store.save(entry.conversation, ...entry.messages);
  return entries.length;
}
