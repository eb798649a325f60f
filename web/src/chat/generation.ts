// One answer from the server: the request, its stream, its figures.
import { ApiError, call, callJson } from '../api';
import { t } from '../i18n';
import { readEvents } from '../sse';
import type { Conversation, Message, Sampling, Stats } from './store';

export interface Sink {
  progress(percent: number): void;
  text(piece: string): void;
  live(stats: Stats): void; // estimated here while the answer grows, the server's own at the end
}

interface Chunk {
  error?: { message: string; code?: string };
  choices?: { delta?: { content?: string }; text?: string; finish_reason?: string | null }[];
  prompt_progress?: { total: number; cache: number; processed: number };
  timings?: { cache_n: number; prompt_n: number; predicted_n: number; predicted_per_second: number };
}

// What the model is given of a message: attached files stand before the text.
export function contentOf(message: Message): string {
  const files = (message.attachments ?? []).map((file) => {
    const fence = file.text.includes('```') ? '~~~~' : '```';
    return `File ${file.name}:\n${fence}\n${file.text}\n${fence}\n\n`;
  });
  return files.join('') + message.text;
}

export function chatMessages(conversation: Conversation, path: Message[]): { role: string; content: string }[] {
  const messages = path
    .filter((m) => m.role === 'user' || m.text !== '')
    .map((m) => ({ role: m.role as string, content: contentOf(m) }));
  if (conversation.system.trim()) messages.unshift({ role: 'system', content: conversation.system });
  return messages;
}

function chosen(sampling: Sampling): Sampling {
  return Object.fromEntries(Object.entries(sampling).filter(([, value]) => value !== undefined && value !== null));
}

async function tokensOf(body: object, signal?: AbortSignal): Promise<number[]> {
  return (await callJson<{ tokens: number[] }>('/tokenize', { body, signal })).tokens;
}

// The prompt as token ids, with the beginning of an answer behind it.
export async function promptTokens(conversation: Conversation, path: Message[], prefix: string, signal?: AbortSignal) {
  const prompt = await tokensOf({ messages: chatMessages(conversation, path) }, signal);
  const begun = prefix ? await tokensOf({ content: prefix, add_special: false, parse_special: false }, signal) : [];
  return { prompt, begun };
}

async function open(conversation: Conversation, path: Message[], prefix: string, signal: AbortSignal): Promise<Response> {
  const shared = {
    ...chosen(conversation.sampling),
    stream: true,
    stream_options: { include_usage: true },
    return_progress: true,
  };
  if (!prefix) return call('/v1/chat/completions', { body: { messages: chatMessages(conversation, path), ...shared }, signal });
  const { prompt, begun } = await promptTokens(conversation, path, prefix, signal);
  // Without a limit /v1/completions would stop early, as OpenAI's does.
  return call('/v1/completions', { body: { max_tokens: -1, ...shared, prompt: [...prompt, ...begun] }, signal });
}

// Resolves with the reason the server gave for the end; throws ApiError when there was no proper end.
export async function generate(
  conversation: Conversation, path: Message[], prefix: string, sink: Sink, signal: AbortSignal,
): Promise<'stop' | 'length'> {
  const begin = performance.now();
  const stats: Stats = { tokens: 0, perSecond: 0, firstMs: 0, promptTokens: 0, cachedTokens: 0 };
  const response = await open(conversation, path, prefix, signal);
  let reason: string | null = null;
  let first = 0;
  try {
    for await (const { data } of readEvents(response.body!)) {
      if (data === '[DONE]') break;
      const chunk = JSON.parse(data) as Chunk;
      if (chunk.error) throw new ApiError(500, chunk.error.message, chunk.error.code ?? null);
      if (chunk.prompt_progress) {
        const { total, cache, processed } = chunk.prompt_progress;
        sink.progress(Math.round((100 * processed) / Math.max(1, total)));
        stats.promptTokens = total;
        stats.cachedTokens = cache;
      }
      const choice = chunk.choices?.[0];
      const piece = choice?.delta?.content ?? choice?.text ?? '';
      if (piece) {
        const now = performance.now();
        first ||= now;
        stats.firstMs = first - begin;
        stats.tokens++;
        stats.perSecond = stats.tokens > 1 ? (1000 * (stats.tokens - 1)) / (now - first) : 0;
        sink.live(stats);
        sink.text(piece);
      }
      if (choice?.finish_reason) reason = choice.finish_reason;
      if (chunk.timings) {
        stats.tokens = chunk.timings.predicted_n;
        stats.perSecond = chunk.timings.predicted_per_second;
        stats.promptTokens = chunk.timings.cache_n + chunk.timings.prompt_n;
        stats.cachedTokens = chunk.timings.cache_n;
        sink.live(stats);
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof ApiError) throw error;
    throw new ApiError(0, t.error.lost);
  }
  if (reason === null) throw new ApiError(0, t.error.lost);
  return reason === 'length' ? 'length' : 'stop';
}

export interface ModelInfo {
  name: string;
  context: number;
  defaults: Sampling; // empty when this key may not read them
}

export async function modelInfo(): Promise<ModelInfo> {
  const list = await callJson<{ data: { id: string; max_model_len: number }[] }>('/v1/models');
  const model = list.data[0];
  const info: ModelInfo = { name: model.id, context: model.max_model_len, defaults: {} };
  try {
    const props = await callJson<{ default_generation_settings: { params: Sampling } }>('/props', { quiet: true });
    info.defaults = props.default_generation_settings.params;
  } catch {
    // only for administrators
  }
  return info;
}
