// Calls to the server. The key travels in a header, never in an address.
import { askForKey, storedKey } from './key';
import { t } from './i18n';

export class ApiError extends Error {
  constructor(
    readonly status: number, // 0: the server could not be reached
    message: string,
    readonly code: string | null = null,
  ) {
    super(message);
  }
}

async function errorOf(response: Response): Promise<ApiError> {
  const body = await response.text();
  try {
    const error = JSON.parse(body).error;
    return new ApiError(response.status, String(error.message), error.code ?? null);
  } catch {
    return new ApiError(response.status, body.slice(0, 300) || response.statusText);
  }
}

// The key is known, but not one for this.
export const lacksRights = (error: unknown) => error instanceof ApiError && error.status === 403 && error.code === 'insufficient_permissions';

interface CallOptions {
  body?: unknown;
  method?: string;
  signal?: AbortSignal;
  quiet?: boolean; // ask nobody for a key: the caller can do without the answer
  keepKey?: boolean; // ask for no better key than the one there is: the caller can do with less
}

// Answers 2xx only; asks for a key when the server wants one, and tries again.
export async function call(path: string, options: CallOptions = {}): Promise<Response> {
  for (;;) {
    const headers: Record<string, string> = {};
    const key = storedKey();
    if (key) headers['Authorization'] = `Bearer ${key}`;
    if (options.body !== undefined) headers['Content-Type'] = 'application/json';
    let response: Response;
    try {
      response = await fetch(path, {
        method: options.method ?? (options.body === undefined ? 'GET' : 'POST'),
        headers,
        body: options.body === undefined ? undefined : JSON.stringify(options.body),
        signal: options.signal,
      });
    } catch (error) {
      if (options.signal?.aborted) throw error;
      throw new ApiError(0, t.error.unreachable);
    }
    if (response.ok) return response;
    const error = await errorOf(response);
    const wantsKey = response.status === 401 || (lacksRights(error) && !(options.keepKey && key));
    if (!wantsKey || options.quiet) throw error;
    // Another call may have stored one meanwhile.
    if (storedKey() === key && !(await askForKey(response.status === 403 ? 'admin' : key ? 'wrong' : 'none'))) throw error;
  }
}

export async function callJson<T>(path: string, options: CallOptions = {}): Promise<T> {
  return (await call(path, options)).json() as Promise<T>;
}

// An error in words for the person in front of the page.
export function plainWords(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  if (error.status === 0) return error.message;
  if (error.code === 'context_length_exceeded') return t.error.tooLong(error.message);
  if (error.status === 401 || error.status === 403) return t.error.key(error.message);
  if (error.status === 429 || error.status === 503) return t.error.busy(error.message);
  if (error.status >= 500) return t.error.server(error.message);
  return t.error.refused(error.message);
}
