// Writes src/monitor/schema.ts from the monitor's schema, so that the page cannot disagree with the server.
import { readFileSync, writeFileSync } from 'node:fs';

const schema = JSON.parse(readFileSync(new URL('../docs/reference/monitor.schema.json', import.meta.url), 'utf8'));
const pascal = (name) => name[0].toUpperCase() + name.slice(1);

function type(node, indent) {
  if (node.$ref) return pascal(node.$ref.split('/').pop());
  if (node.enum) return node.enum.map((value) => JSON.stringify(value)).join(' | ');
  if ('const' in node) return JSON.stringify(node.const);
  const any = node.anyOf ?? node.oneOf;
  if (any) return any.map((option) => type(option, indent)).join(' | ');
  if (node.prefixItems) return `[${node.prefixItems.map((item) => type(item, indent)).join(', ')}]`;
  if (node.type === 'array') return `(${type(node.items ?? {}, indent)})[]`;
  if (node.type === 'object' && node.properties) return members(node, indent);
  if (node.type === 'object' && node.additionalProperties) return `Record<string, ${type(node.additionalProperties, indent)}>`;
  return { integer: 'number', number: 'number', string: 'string', boolean: 'boolean', null: 'null' }[node.type] ?? 'unknown';
}

function members(node, indent) {
  const inner = indent + '  ';
  const lines = Object.entries(node.properties).map(([name, value]) => {
    const optional = node.required?.includes(name) ? '' : '?';
    return `${inner}${name}${optional}: ${type(value, inner)};`;
  });
  return `{\n${lines.join('\n')}\n${indent}}`;
}

const types = Object.entries(schema.$defs).map(([name, node]) => `export type ${pascal(name)} = ${type(node, '')};\n`);
const head = '// Made by make_types.mjs from docs/reference/monitor.schema.json, which says what each member means.\n\n';
writeFileSync(new URL('src/monitor/schema.ts', import.meta.url), head + types.join('\n'));
