"""The page at /docs: every call, rendered from /openapi.json by the browser; nothing is fetched from elsewhere."""

import base64
import hashlib

SCRIPT = """
const make = (tag, text, kind) => {
  const found = document.createElement(tag);
  if (text) found.textContent = text;
  if (kind) found.className = kind;
  return found;
};
const short = schema => {
  if (!schema) return '';
  if (schema.$ref) return schema.$ref.split('/').pop();
  if (schema.anyOf) return schema.anyOf.map(short).join(' | ');
  if (schema.enum) return schema.enum.join(' | ');
  if (schema.type === 'array') return short(schema.items) + '[]';
  return schema.type || 'any';
};
const fields = (all, schema, depth) => {
  const list = make('ul');
  const found = schema.$ref ? all[schema.$ref.split('/').pop()] : schema;
  for (const [name, one] of Object.entries((found && found.properties) || {})) {
    const must = (found.required || []).includes(name) ? ' required' : '';
    const item = make('li');
    item.append(make('code', name), make('span', ' ' + short(one) + must, 'dim'));
    if (one.description) item.append(make('span', ' ' + one.description));
    const inner = one.$ref || (one.items && one.items.$ref);
    if (inner && depth < 4) item.append(fields(all, {$ref: inner}, depth + 1));
    list.append(item);
  }
  return list;
};
const call = (all, method, path, one) => {
  const box = make('details');
  const head = make('summary');
  const [first, ...rest] = (one.description || one.summary).split('\\n\\n');
  head.append(make('b', method.toUpperCase()), make('code', ' ' + path), make('span', ' ' + first, 'dim'));
  box.append(head);
  for (const part of rest) box.append(make('p', part));
  if ((one.parameters || []).length) {
    const list = make('ul');
    for (const each of one.parameters) {
      const item = make('li');
      item.append(make('code', each.name), make('span', ' ' + each.in + ' ' + short(each.schema), 'dim'));
      if (each.description) item.append(make('span', ' ' + each.description));
      list.append(item);
    }
    box.append(make('h4', 'Parameters'), list);
  }
  const body = one.requestBody && one.requestBody.content['application/json'];
  if (body) box.append(make('h4', 'Body'), fields(all, body.schema.anyOf ? body.schema.anyOf[0] : body.schema, 0));
  box.append(make('h4', 'Answers'));
  for (const [status, answer] of Object.entries(one.responses)) {
    const item = make('details');
    item.append(make('summary', status + ' ' + answer.description));
    for (const content of Object.values(answer.content || {})) {
      const schema = content.schema.type === 'array' ? content.schema.items : content.schema;
      item.append(fields(all, schema, 0));
    }
    box.append(item);
  }
  const curl = ["curl", "-H 'Authorization: Bearer TOKEN'"];
  if (method !== 'get') curl.push('-X ' + method.toUpperCase());
  if (body) curl.push("-H 'Content-Type: application/json' -d @body.json");
  box.append(make('h4', 'By hand'), make('pre', curl.join(' ') + ' ' + location.origin + path));
  return box;
};
fetch('openapi.json').then(answer => answer.json()).then(api => {
  const main = document.querySelector('main');
  main.replaceChildren(make('h1', api.info.title + ' ' + api.info.version), make('p', api.info.description));
  const all = api.components.schemas;
  const groups = {};
  for (const [path, calls] of Object.entries(api.paths))
    for (const [method, one] of Object.entries(calls))
      (groups[(one.tags || ['other'])[0]] ||= []).push(call(all, method, path, one));
  for (const [tag, boxes] of Object.entries(groups)) main.append(make('h2', tag), ...boxes);
}).catch(error => { document.querySelector('main').textContent = 'openapi.json can not be read: ' + error; });
"""

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; padding: 1rem; }
main { max-width: 60rem; margin: auto; }
summary { cursor: pointer; padding: .4rem 0; overflow-wrap: anywhere; }
details details { margin-left: 1rem; }
pre, code { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere; white-space: pre-wrap; }
pre { padding: .6rem; border: 1px solid; border-radius: 4px; }
ul { padding-left: 1.2rem; margin: .2rem 0; }
h4 { margin: .6rem 0 0; }
.dim { opacity: .7; }
b { display: inline-block; min-width: 4.2em; }
"""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


POLICY = (
    f"default-src 'none'; script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>provisioner API</title>'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<link rel="icon" href="data:,"><style>{STYLE}</style></head>'
    f"<body><main>Reading openapi.json …</main><script>{SCRIPT}</script></body></html>"
)
