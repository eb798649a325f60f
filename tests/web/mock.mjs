// The page with the server's own headers, and answers of our choosing behind it.
import { createServer } from 'node:http';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '../..');
const dist = join(root, 'web/dist');
const kTypes = { html: 'text/html; charset=utf-8', js: 'text/javascript; charset=utf-8', css: 'text/css; charset=utf-8', svg: 'image/svg+xml' };
// The one policy, from the server's source.
const policy = [.../kPolicy =([\s\S]*?);\n/.exec(readFileSync(join(root, 'src/server/routes/web.cpp'), 'utf8'))[1].matchAll(/"([^"]*)"/g)].map((m) => m[1]).join('');

export async function startMock(pieces, { pause = 0 } = {}) {
  const seen = [];
  const server = createServer(async (request, response) => {
    const path = request.url.split('?')[0];
    seen.push(path);
    const json = (value) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    if (path === '/v1/models') return json({ data: [{ id: 'mock', max_model_len: 4096 }] });
    if (path === '/props') return json({ default_generation_settings: { params: { temperature: 0.8 } } });
    if (path === '/v1/chat/completions') {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      for (const piece of pieces) {
        response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: piece }, finish_reason: null }] })}\n\n`);
        if (pause > 0) await new Promise((done) => setTimeout(done, pause));
      }
      response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }], timings: { cache_n: 0, prompt_n: 10, predicted_n: pieces.length, predicted_per_second: 100 } })}\n\n`);
      return response.end('data: [DONE]\n\n');
    }
    const file = path === '/' || path === '/monitor' ? 'index.html' : path.slice(1);
    try {
      const body = readFileSync(join(dist, file));
      response.writeHead(200, { 'content-type': kTypes[file.split('.').pop()], 'content-security-policy': policy, 'x-content-type-options': 'nosniff' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
