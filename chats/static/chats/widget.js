/**
 * MIA chat widget: <script async src="https://HOST/widget.js" data-key="mia_pk_…"></script>
 * Optional: data-bot, data-locale, data-position (left, right), data-color, data-open.
 * MIA('open' | 'close' | 'forget' | 'destroy'), MIA('send', text), MIA('on', event, listener); see `commands` and `emit`.
 */
(() => {
'use strict';

const script = document.currentScript || document.querySelector('script[data-key][src*="widget.js"]');
if (!script || window.MIA?.ready) return;
const { key, bot, locale: wished, position, color, open: opened = 'false' } = script.dataset;
const home = script.src;

// ---- Words

const KEYS = 'chat|close|ask|send|stop|forget|you|ai|human|lost|offline|busy|retry|failed|blocked|sources'.split('|');
const WORDS = {
  en: 'Chat|Close|Write a message…|Send|Stop|Delete this chat|You|AI assistant|Our team|Reconnecting…|You are offline|Very busy right now|Try again|That did not work|Not available on this site|Sources',
  fr: 'Chat|Fermer|Écrivez un message…|Envoyer|Arrêter|Supprimer ce chat|Vous|Assistant IA|Notre équipe|Reconnexion…|Vous êtes hors ligne|Beaucoup de demandes|Réessayer|Cela n’a pas marché|Indisponible sur ce site|Sources',
  de: 'Chat|Schließen|Nachricht schreiben…|Senden|Stopp|Diesen Chat löschen|Sie|KI-Assistent|Unser Team|Verbinde neu…|Sie sind offline|Gerade ist viel los|Erneut versuchen|Das hat nicht geklappt|Auf dieser Seite nicht verfügbar|Quellen',
  es: 'Chat|Cerrar|Escribe un mensaje…|Enviar|Detener|Borrar este chat|Tú|Asistente de IA|Nuestro equipo|Reconectando…|Sin conexión|Muchas consultas ahora|Reintentar|Algo ha fallado|No disponible en este sitio|Fuentes',
  it: 'Chat|Chiudi|Scrivi un messaggio…|Invia|Ferma|Elimina questa chat|Tu|Assistente IA|Il nostro team|Riconnessione…|Sei offline|Molte richieste ora|Riprova|Non ha funzionato|Non disponibile su questo sito|Fonti',
  pt: 'Chat|Fechar|Escreva uma mensagem…|Enviar|Parar|Apagar este chat|Você|Assistente de IA|Nossa equipe|Reconectando…|Você está offline|Muitas perguntas agora|Tentar de novo|Não funcionou|Indisponível neste site|Fontes',
  nl: 'Chat|Sluiten|Schrijf een bericht…|Versturen|Stoppen|Deze chat verwijderen|U|AI-assistent|Ons team|Opnieuw verbinden…|U bent offline|Het is nu erg druk|Opnieuw proberen|Dat lukte niet|Niet beschikbaar op deze site|Bronnen',
  ru: 'Чат|Закрыть|Напишите сообщение…|Отправить|Стоп|Удалить этот чат|Вы|ИИ-ассистент|Наша команда|Переподключение…|Нет сети|Много вопросов|Повторить|Не получилось|Недоступно на этом сайте|Источники',
  zh: '聊天|关闭|输入消息…|发送|停止|删除此对话|您|AI 助手|人工客服|正在重新连接…|您已离线|当前咨询较多|重试|出了点问题|此网站不可用|来源',
  ja: 'チャット|閉じる|メッセージを入力…|送信|停止|この会話を削除|あなた|AIアシスタント|担当者|再接続中…|オフラインです|混み合っています|再試行|うまくいきませんでした|このサイトでは利用不可|参考資料',
  ar: 'محادثة|إغلاق|اكتب رسالة…|إرسال|إيقاف|حذف هذه المحادثة|أنت|مساعد ذكي|فريقنا|إعادة الاتصال…|أنت غير متصل|أسئلة كثيرة الآن|حاول مجددًا|لم ينجح ذلك|غير متاح على هذا الموقع|المصادر',
};
const lingo = (tag) => (tag || '').slice(0, 2).toLowerCase();
const locale = [wished, document.documentElement.lang, ...navigator.languages, 'en'].find((tag) => WORDS[lingo(tag)]);
const words = Object.fromEntries(WORDS[lingo(locale)].split('|').map((text, i) => [KEYS[i], text]));

// ---- Looks

const CSS = `
:host{all:initial!important;position:fixed!important;z-index:2147483000!important}
*,::before,::after{box-sizing:border-box}
[hidden]{display:none!important}
.root{color-scheme:light dark;--soft:light-dark(#f6f7f9,#15171c);--card:light-dark(#fff,#21242b);--ink:light-dark(#15181d,#eef0f4);--dim:light-dark(#596070,#a5abb8);
--line:light-dark(#e2e5ea,#343842);--bad:light-dark(#b3261e,#ff9c94);--net:light-dark(#fff4d6,#3a2f12);--shadow:0 16px 44px -12px rgba(8,12,20,.45),0 2px 8px rgba(8,12,20,.12);
--accent:var(--mia-color,#4338ca);--fill:linear-gradient(145deg,var(--accent),color-mix(in oklab,var(--accent) 82%,var(--far)));
--on:color(from var(--accent) xyz-d65 clamp(0,(.18 - y)*1e5,.95) clamp(0,(.18 - y)*1e5,1) clamp(0,(.18 - y)*1e5,1.09));
--far:color(from var(--accent) xyz-d65 clamp(0,(y - .18)*1e5,.95) clamp(0,(y - .18)*1e5,1) clamp(0,(y - .18)*1e5,1.09));
--tint:color-mix(in srgb,var(--dim) 14%,transparent);--edge:0 0 0 1px var(--line);
font:15px/1.5 -apple-system,"Segoe UI",Roboto,Arial,sans-serif;color:var(--ink)}
button,summary,textarea{font:inherit;color:inherit;margin:0;padding:0;border:0;background:none}
button,summary{cursor:pointer;display:grid;place-items:center}
::-webkit-details-marker{display:none}
svg{width:22px;height:22px;fill:none;stroke:currentColor;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}
:focus-visible{outline:2px solid var(--ink);outline-offset:2px}
textarea:focus-visible{outline:0}
.sr{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.fab{position:fixed;bottom:20px;inset-inline-end:20px;width:60px;height:60px;border-radius:50%;color:var(--on);background:var(--fill);
transition:transform .18s,opacity .3s;box-shadow:var(--shadow)}
.fab:hover{transform:translateY(-2px)}
.fab svg{width:28px;height:28px}
.fab .down,.open .fab .talk{display:none}
.open .fab .down{display:block}
.wait .fab{opacity:0}
.badge{position:absolute;top:-3px;inset-inline-end:-3px;min-width:22px;padding:0 6px;border-radius:11px;background:#c8201a;color:#fff;
font-size:12px;font-weight:600;line-height:22px;box-shadow:0 0 0 2px var(--card)}
.panel{position:fixed;bottom:96px;inset-inline-end:20px;width:400px;height:min(680px,100dvh - 116px);display:flex;flex-direction:column;
overflow:hidden;border-radius:22px;background:var(--soft);animation:rise .26s ease-out;
box-shadow:var(--shadow),var(--edge)}
.left>*{inset-inline:auto;left:20px}
.right>*{inset-inline:auto;right:20px}
@keyframes rise{from{opacity:0;transform:translateY(14px)}}
header{position:relative;z-index:1;display:flex;align-items:center;gap:4px;padding:16px 18px;padding-inline-end:12px;color:var(--on);background:var(--fill)}
header :focus-visible{outline-color:currentColor}
.face{flex:none;width:42px;height:42px;border-radius:50%;display:grid;place-items:center;font-size:18px;font-weight:600;
background:color-mix(in srgb,currentColor 18%,transparent);box-shadow:inset 0 0 0 1px color-mix(in srgb,currentColor 28%,transparent)}
.name{flex:1;min-width:0;padding:0 8px}
h2,.status{margin:0;font-size:13px;font-weight:400;line-height:1.4;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
h2{font-size:16px;font-weight:600}
.status::before{content:"";display:inline-block;width:8px;height:8px;margin-inline-end:7px;border-radius:50%;background:#4ade80}
.icon{width:40px;height:40px;border-radius:12px}
.icon:hover{background:color-mix(in srgb,currentColor 14%,transparent)}
.menu{position:absolute;top:calc(100% - 6px);inset-inline-end:14px;padding:10px 16px;border-radius:12px;color:var(--ink);background:var(--card);font-weight:600;
box-shadow:var(--shadow),var(--edge)}
.log{flex:1;overflow-y:auto;overscroll-behavior:contain;padding:20px 16px 12px;display:flex;flex-direction:column;gap:6px}
.log:focus-visible{outline-offset:-3px}
.msg{display:flex;flex-direction:column;align-items:flex-start;max-width:88%;animation:rise .2s}
.user{align-self:flex-end;align-items:flex-end}
.msg:not(.user)+.user,.user+.msg:not(.user){margin-top:12px}
.who,.under{font-size:13px;color:var(--dim)}
.who{margin:0 6px 4px}
.agent+.agent .who{display:none}
.bubble{max-width:100%;padding:10px 14px;border-radius:18px;border-end-start-radius:6px;overflow-wrap:anywhere;background:var(--card);border:1px solid var(--line)}
.user .bubble{border-color:transparent;border-end-start-radius:18px;border-end-end-radius:6px;color:var(--on);background:var(--fill) border-box;white-space:pre-wrap}
.sending{opacity:.7}
.note{align-self:center}
.note .bubble{margin-top:12px;padding:4px 14px;font-size:13px;background:none;border-radius:16px}
.bubble>*{margin:0}
.bubble>*+*{margin-top:.6em}
ul,ol{padding-inline-start:1.35em}
li+li{margin-top:.25em}
a{color:inherit;text-underline-offset:2.5px}
sup{font-size:.72em;line-height:0}
hr{width:100%;border:0;border-top:1px solid var(--line)}
blockquote{padding-inline-start:.8em;border-inline-start:3px solid;color:var(--dim)}
code,pre{font:13px/1.5 ui-monospace,Consolas,monospace;background:var(--tint);padding:.1em .35em;border-radius:5px}
pre{padding:10px 12px;overflow-x:auto;direction:ltr;text-align:left;overflow-wrap:normal}
.dots{display:flex;gap:5px;padding:8px 2px}
.dots i{width:7px;height:7px;border-radius:50%;background:var(--dim);animation:bob 1.2s infinite}
.dots :nth-child(2){animation-delay:.15s}
.dots :nth-child(3){animation-delay:.3s}
@keyframes bob{0%,60%,to{opacity:.35}30%{opacity:1;transform:translateY(-4px)}}
.under{display:flex;flex-wrap:wrap;align-items:center;gap:6px;margin:6px 4px 0;max-width:100%}
.user .under{justify-content:flex-end}
.bad{color:var(--bad)}
.chip{max-width:100%;padding:3px 12px;border-radius:16px;background:var(--card);border:1px solid var(--line);color:var(--ink);text-decoration:none;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.chip:hover{border-color:currentColor}
.chip:disabled{color:var(--dim);cursor:default}
.bar{position:relative;padding:0 12px max(12px,env(safe-area-inset-bottom))}
.net{margin:0 4px 8px;padding:8px 12px;border-radius:12px;font-size:13px;background:var(--net)}
form{display:flex;align-items:flex-end;padding:6px;border-radius:20px;background:var(--card);border:1px solid var(--line)}
form:focus-within{border-color:var(--dim);box-shadow:0 0 0 3px color-mix(in srgb,var(--accent) 22%,transparent)}
textarea{flex:1;min-width:0;max-height:140px;padding:8px 10px;resize:none;font-size:16px;line-height:24px}
textarea::placeholder{color:var(--dim);opacity:1}
textarea:placeholder-shown{direction:inherit}
.go{width:40px;height:40px;border-radius:14px;color:var(--on);background:var(--accent)}
.go:disabled{background:var(--tint);color:var(--dim);cursor:default}
@media (max-width:640px),(max-height:440px){
.root>.panel{inset:var(--top,0) 0 auto;width:auto;height:var(--tall,100dvh);border-radius:0}
.open .fab{display:none}
header{padding-top:max(16px,env(safe-area-inset-top))}
}
@media (prefers-reduced-motion:reduce){*,::before,::after{animation:none!important;transition:none!important}}
@media (forced-colors:active){.fab,.bubble,.go,.panel{border:1px solid}}
@media print{:host{display:none!important}}`;

const ICONS = {
  talk: 'M21 11.5a8.5 8.5 0 0 1-12.2 7.7L3 21l1.8-5.8A8.5 8.5 0 1 1 21 11.5zM9 11.5h.01M12.5 11.5h.01M16 11.5h.01',
  forget: 'M4 7h16M10 7V4h4v3M6 7l1 13h10l1-13',
  close: 'M6 6l12 12M18 6 6 18',
  send: 'M12 19V5M6 11l6-6 6 6',
  stop: 'M8 8h8v8H8z',
  down: 'm6 9 6 6 6-6',
};

// ---- Nodes

/** Properties and text only: words never become markup. */
function make(spec, props, ...children) {
  const [tag, className = ''] = spec.split('.');
  const node = Object.assign(document.createElement(tag), { className }, props);
  node.append(...children);
  return node;
}

function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const path = document.createElementNS(svg.namespaceURI, 'path');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', name);
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

const button = (spec, label, onclick, ...children) => make(`button.${spec}`, { type: 'button', ariaLabel: label, onclick }, ...children);

// ---- Markdown

const SIGN = ' *(?:[-*+•]|\\d{1,3}[.)]) ';
const FENCE = ' *(?:```|~~~)';
const RULE = ' *(?:---+|\\*\\*\\*+|___+) *$';
const BLOCK = new RegExp([
  '^ *(```|~~~).*\\n?([^]*?)(?:^ *\\1.*|(?![^]))',
  '^#{1,6} +(.*)',
  `^${RULE}`,
  `(^${SIGN}.*(?:\\n+(?!${FENCE})(?: +\\S|${SIGN}).*)*)`,
  '((?:^>.*\\n?)+)',
  `((?:^(?!${FENCE}|${RULE}|${SIGN}|#{1,6} |>).*\\S.*\\n?)+)`,
].join('|'), 'gm');
const ITEM = new RegExp(`^( *)([^ ]+) +(.*(?:\\n(?!${SIGN}).*)*)`, 'gm');
const INLINE = new RegExp([
  '(`+)(?!`)(.+?)(?<!`)\\1(?!`)',
  '(?<!\\w)(\\*\\*|__)(?=\\S)(.+?)\\3',
  '(?<![\\w*])([*_])(?=[^\\s*_])([^*_]+?)(?<!\\s)\\5(?!\\w)',
  '!?\\[([^\\[\\]]*)\\]\\(\\s*<?([^\\s()<>]*(?:\\([^\\s()<>]*\\)[^\\s()<>]*)?)>?[^()]*\\)',
  '\\[(\\d{1,2})\\]',
  'https?://[^\\s<>"`]*[^\\s<>"`.,;:!?)\\]}*_\']',
  '\\n',
].join('|'), 'gs');
let cited = [];

function link(address, content, spec = '') {
  const url = URL.canParse(address) && new URL(address);
  if (!url || !/^(https?|mailto|tel):$/.test(url.protocol)) return make(`span${spec}`, {}, ...content);
  return make(`a${spec}`, { href: url.href, title: url.href, target: '_blank', rel: 'noopener noreferrer nofollow' }, ...content);
}

function inline(text, linked) {
  const out = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const [all, , code, , bold, , italic, label, target, mark] = match;
    const source = mark && cited.find(({ index }, i) => (index ?? i + 1) === Number(mark));
    out.push(text.slice(end, match.index));
    end = match.index + all.length;
    if (code) out.push(make('code', {}, code));
    else if (bold) out.push(make('strong', {}, ...inline(bold, linked)));
    else if (italic) out.push(make('em', {}, ...inline(italic, linked)));
    else if (all === '\n') out.push(make('br'));
    else if (source && !linked) out.push(make('sup', {}, link(source.url, [all])));
    else if (mark || linked || all[0] === '!') out.push(label || all);
    else out.push(link(target ?? all, label ? inline(label, true) : [target ?? all]));
  }
  return [...out, text.slice(end)];
}

function list(text) {
  const levels = [];
  for (const [, { length: indent }, sign, body] of text.matchAll(ITEM)) {
    while (levels[1] && indent < levels[0].indent) levels.shift();
    const [level] = levels;
    if (!level || indent > level.indent + 1) {
      const node = /\d/.test(sign) ? make('ol', { start: parseInt(sign, 10) }) : make('ul');
      if (level) level.node.lastChild.append(node);
      levels.unshift({ indent, node });
    }
    levels[0].node.append(make('li', {}, ...inline(body.trim().replace(/\n\s*/g, '\n'))));
  }
  return levels.at(-1).node;
}

/** While text streams in, all blocks but the last keep their nodes. */
function renderMarkdown(node, text) {
  let i = 0;
  for (const [all, , code, head, items, quote, flow] of text.matchAll(BLOCK)) {
    const source = all + cited.length;
    const old = node.childNodes[i];
    i += 1;
    if (old?.source === source) continue;
    const block = code !== undefined ? make('pre', { tabIndex: 0 }, code)
      : head ? make('p', {}, make('strong', {}, ...inline(head)))
        : items ? list(items)
          : quote ? make('blockquote', {}, ...inline(quote.replace(/^> ?/gm, '').trim()))
            : flow ? make('p', {}, ...inline(flow.trim()))
              : make('hr');
    block.source = source;
    if (old) old.replaceWith(block);
    else node.append(block);
  }
  while (node.childNodes[i]) node.lastChild.remove();
}

/** Closes or hides a mark that is half written, so that it never flashes by. */
function mend(text) {
  if (text.split(new RegExp(`^${FENCE}`, 'm')).length % 2 === 0) return text;
  const cut = text.lastIndexOf('\n') + 1;
  const tail = text.slice(cut)
    .replace(/!?\[([^\[\]]*)(\]\([^)]*)?$/, '$1')
    .replace(/^\s*([-+•#]+|\d{1,3}[.)]?)\s*$|[*_`]+$/, '');
  const open = ['`', '**'].find((mark) => tail.split(mark).length % 2 === 0);
  return text.slice(0, cut) + (open ? tail.trimEnd() + open : tail);
}

// ---- Session

const shelf = `mia:${key}${bot ? `:${bot}` : ''}`;
let session = {};

function recall() {
  try {
    const saved = JSON.parse(localStorage[shelf]);
    return saved.until > Date.now() ? saved : {};
  } catch {
    return {};
  }
}

function remember(changes) {
  session = changes ? { ...session, ...changes, until: Date.now() + 30 * 86_400_000 } : {};
  try {
    if (changes) localStorage[shelf] = JSON.stringify(session);
    else localStorage.removeItem(shelf);
  } catch { /* storage is forbidden or full: the chat lives as long as the page */ }
}

// ---- Wire

const naps = [];
const nap = (ms) => new Promise((done) => { naps.push(done); setTimeout(done, ms); });
const wake = () => naps.splice(0).forEach((done) => done());
const backoff = (tries) => Math.min(20_000, 400 * 2 ** tries) * (0.5 + Math.random());

async function online() {
  while (!navigator.onLine && !dead) await nap(5_000);
}

const problem = (status, body = {}, retryAfter = 0) => Object.assign(new Error(body.error_code), { status, code: body.error_code, retryAfter });
const get = (path, options) => fetch(new URL(path, home), { credentials: 'omit', cache: 'no-store', ...options });

async function request(method, path, body, headers) {
  const response = await get(path, {
    method,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(30_000),
    headers: {
      Authorization: `Bearer ${key}`,
      ...(session.token && { 'X-Session-Token': session.token }),
      ...(body && { 'Content-Type': 'application/json' }),
      ...headers,
    },
  }).catch(() => { throw problem(0); });
  answered = true;
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw problem(response.status, data, Number(response.headers.get('Retry-After')));
  return data;
}

/** Browsers hide why a cross-origin call failed: if the host is up, it refused this site. */
async function isRefused({ status, code }) {
  if (status || answered || !navigator.onLine) return status === 401 || code === 'ORIGIN_NOT_ALLOWED';
  return get('', { mode: 'no-cors' }).then(() => true, () => false);
}

// ---- Stream

const QUIET_MS = 40_000;
let stream = null; // {abort, heardAt}
let streamUrl = '';
let lastId = ''; // <attempt>.<offset>
let newsAt = 0;

const active = () => items.find((item) => item.live);
const wanted = () => !dead && session.id && (active() || mode === 'human' || (isOpen && !document.hidden));

async function follow(url) {
  if (url) streamUrl = url;
  if (stream && (stream.id !== session.id || Date.now() - stream.heardAt > QUIET_MS / 2)) stream.abort();
  if (stream) return;
  stream = { abort() {}, heardAt: Date.now() };
  for (let tries = 0; wanted(); tries += 1) {
    const since = Date.now();
    try {
      if (!streamUrl) streamUrl = (await request('POST', `chat/${session.id}/stream_token`, {})).stream_url;
      await listen(() => { tries = 0; });
    } catch ({ status }) {
      if (status === 404) forget();
    }
    if (!wanted()) break;
    if (Date.now() - since > 10_000) tries = 0;
    if (active()) setTrouble(tries ? 'lost' : '');
    await nap(backoff(active() ? tries : tries + 2));
    await online();
    if (tries && active()) await loadHistory().catch(() => {});
  }
  stream = null;
  setTrouble('');
}

async function listen(onNews) {
  const control = new AbortController();
  stream.id = session.id;
  stream.abort = () => control.abort();
  const { ok, status: http, body } = await get(streamUrl, { signal: control.signal, headers: lastId ? { 'Last-Event-ID': lastId } : {} });
  if (http < 500 && !ok) streamUrl = '';
  if (!ok) throw problem(0);
  setTrouble('');
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let event = {};
  for (let rest = '', part; !(part = await reader.read()).done;) {
    const rows = (rest + part.value).split(/\r\n|\n|\r(?!$)/);
    rest = rows.pop();
    stream.heardAt = Date.now();
    for (const row of rows) {
      const [, name, value] = /^([^:]*):? ?(.*)$/s.exec(row);
      if (row) event[name] = name === 'data' && event.data ? `${event.data}\n${value}` : value;
      else {
        if (event.data && receive(event)) onNews();
        event = {};
      }
    }
  }
}

function receive({ event, data, id }) {
  const news = JSON.parse(data);
  const handler = handlers[event || news.type];
  if (!handler || dead) return false;
  newsAt = Date.now();
  const isNew = handler(news, parseInt(id, 10)) !== false;
  if (id && active()) lastId = id;
  return isNew;
}

/** What the stream says; false where that was nothing new. */
const handlers = {
  queued(news) {
    repaint(jobItem(news), { line: news.position > 1 ? `${words.busy} (${news.position})` : '' });
  },
  started(news) {
    repaint(jobItem(news), { line: '', attempt: news.attempt });
  },
  delta(news, attempt) {
    const item = jobItem(news);
    return item.live && !(attempt < item.attempt) && write(item, news.offset, Array.from(news.text));
  },
  reset(news) {
    const item = jobItem(news);
    if (item.live) repaint(item, { attempt: news.attempt, points: [], shown: 0 });
  },
  done(news) {
    const item = jobItem(news);
    if (!item.live) return false;
    if (['failed', 'expired'].includes(news.status)) fail(problem(0, news));
    else if (item.points.length || news.status === 'cancelled') finish(item, news.citations);
    else loadHistory().catch(fail);
  },
  error(news) {
    const item = jobItem(news);
    if (news.final === false) repaint(item, { line: words.busy });
    else if (item.live) fail(problem(0, news));
  },
  message(news) {
    const { live } = match(news) || { live: true };
    const item = adopt(news);
    if (live) arrive(item);
    show(typing, false);
  },
  typing(news) {
    show(typing, news.role !== 'user');
    clearTimeout(typingTimer);
    typingTimer = setTimeout(show, 6_000, typing, false);
    scrollDown();
  },
  mode(news) {
    if (setMode(news.mode)) speak(add({ role: 'note', text: status.textContent }).text);
    settle();
  },
};

/** Offsets count code points. What is known is skipped, what disagrees replaced, a gap read again. */
function write(item, offset, points) {
  if (offset > item.points.length) {
    lastId = '';
    stream.abort();
    return false;
  }
  if (points.every((point, i) => point === item.points[offset + i])) return false;
  item.points = [...item.points.slice(0, offset), ...points];
  repaint(item);
  return true;
}

// ---- Messages

let items = [];
let mode = 'ai';
let typingTimer;

function add(fields, before) {
  const item = { points: [], shown: 0, citations: [], node: make(`div.msg ${fields.role}`), ...fields };
  items.splice(before ? items.indexOf(before) : items.length, 0, item);
  log.insertBefore(item.node, before ? before.node : typing);
  repaint(item);
  return item;
}

function remove(item) {
  items = items.filter((other) => other !== item);
  item.node.remove();
}

function jobItem({ job_id: job, stream_url: fresh }) {
  const known = job ? items.find((item) => item.job === job) : active();
  if (known) return known;
  const waiting = items.find((item) => item.live && !item.job);
  if (!waiting && !fresh) nap(50).then(loadHistory).catch(() => {}); // another tab's
  return Object.assign(waiting || add({ role: 'assistant', live: true }), { job });
}

function match({ id, role, content, job_id: job }) {
  return items.find((item) => item.role === role && (item.id ? item.id === id : role === 'user' ? item.text === content : item.job && item.job === job));
}

function adopt(message, before) {
  const { id, role, content, name, job_id: job, citations } = message;
  const item = match(message) || add({ role }, before);
  if (role !== 'user') item.job = job;
  repaint(item, { id, name, text: content, points: Array.from(content), citations: citations || item.citations, live: false, sending: false });
  return item;
}

function finish(item, citations) {
  repaint(item, { live: false, text: item.points.join(''), citations: citations || [] });
  if (item.text) arrive(item);
  else show(item.node, false);
  settle();
}

/** A whole message is said once to screen readers. */
function arrive(item) {
  const { id, role, text: content, job } = item;
  paint(item);
  scrollDown();
  if (role !== 'user') {
    speak(`${item.who.textContent}: ${item.bubble.textContent}`);
    if (!isOpen) setUnread(unread + 1);
  }
  emit('message', { id, role, content, job_id: job });
}

/** No answer will come: say so under the question. */
async function fail(error, asked) {
  const answer = active();
  const question = asked || items.findLast((item) => item.role === 'user');
  const { code, status: http, retryAfter } = error;
  if (answer) finish(answer);
  if (!question || (!asked && mode === 'human')) return;
  const busy = [429, 503].includes(http) || ['NO_CAPACITY', 'RATE_LIMITED', 'UNAVAILABLE'].includes(code);
  const word = busy ? 'busy' : await isRefused(error) ? 'blocked' : navigator.onLine ? 'failed' : 'offline';
  repaint(question, { sending: false, problem: words[word], until: Date.now() + Math.min(retryAfter || 0, 600) * 1_000 });
  speak(question.problem);
  emit('error', error);
  settle();
}

function settle(url) {
  if (!active()) lastId = streamUrl = '';
  if (wanted()) follow(url);
  else stream?.abort();
  setComposer();
}

async function loadHistory() {
  const { id } = session;
  const data = await request('GET', `chat/${id}/messages`).catch((error) => {
    if (error.status === 404) forget();
    throw error;
  });
  if (id !== session.id) return;
  const { active_job: job, messages } = data;
  let next = items.find((item) => item.role !== 'greeting');
  for (const message of messages) {
    if (!message.content || !/^(user|assistant|agent)$/.test(message.role)) continue;
    const { live } = match(message) || {};
    const item = adopt(message, next);
    if (live) arrive(item);
    next = items[items.indexOf(item) + 1];
  }
  setMode(data.mode);
  if (job) jobItem(job);
  const awaited = active()?.job;
  if (awaited && awaited !== job?.job_id) fail(problem(0));
  greet();
  settle(job?.stream_url);
}

/** Nobody followed for a while: a person may have written. */
function refresh() {
  if (wanted() && !stream) loadHistory().catch(() => settle());
  else settle();
}

async function send(item) {
  const body = item.body || { message: item.text, session_id: session.id, bot_id: bot ? Number(bot) || bot : undefined };
  const uuid = item.uuid || crypto.getRandomValues(new Uint32Array(4)).join('-');
  const answer = mode === 'ai' && add({ role: 'assistant', live: true });
  repaint(item, { body, uuid, sending: true, problem: '' });
  remember({ pending: { text: item.text, body, uuid, at: Date.now() } });
  stick = true;
  settle();
  try {
    accept(item, answer, await post(item));
  } catch (error) {
    if (answer) remove(answer);
    if (error.status) item.body = item.uuid = null;
    remember({ pending: null });
    fail(error, item);
  }
}

/** Repeats carry the same Idempotency-Key, so that a message arrives once. */
async function post(item) {
  for (let tries = 1; ; tries += 1) {
    await online();
    try {
      return await request('POST', 'chat', item.body, { 'Idempotency-Key': item.uuid });
    } catch (error) {
      if (error.status === 404 && item.body.session_id) {
        remember();
        item.uuid += '-';
        item.body.session_id = undefined;
      } else if ([0, 500, 502, 504].includes(error.status) && tries < 5 && trouble !== 'blocked' && !dead) await nap(backoff(tries));
      else throw error;
    }
  }
}

function accept(item, answer, { job_id: job, session_id: id, session_token: token, ...reply }) {
  remember({ id, token, pending: null, open: isOpen });
  repaint(item, { sending: false, body: null, uuid: null });
  const known = job && items.find((other) => other.job === job);
  if (answer && known !== answer && (known || !job)) remove(answer);
  const target = known || answer;
  if (job && target.live) {
    target.job = job;
    if (!target.points.length) handlers.queued({ job_id: job, position: reply.position });
    if (reply.response) finish(Object.assign(target, { points: Array.from(reply.response) }), reply.citations);
  }
  setMode(reply.mode);
  settle(reply.stream_url);
}

function retry(item) {
  remove(item);
  send(add({ role: 'user', text: item.text, body: item.body, uuid: item.uuid }));
  field.focus();
}

function stop() {
  const item = active();
  request('DELETE', `job/${item.job}`).catch(() => {});
  finish(item);
  field.focus();
}

function forget() {
  remember();
  clear();
}

function clear() {
  [...items].forEach(remove);
  mode = 'ai';
  greet();
  settle();
  setUnread(0);
}

// ---- View

let isOpen = false;
let unread = 0;
let stick = true; // follow the end of the log
let trouble = '';
let answered = false;
let dead = false;
let config = null;
let opener = null;
const dirty = new Set();
const phone = matchMedia('(max-width:640px),(max-height:440px)');
const show = (node, on) => { node.hidden = !on; };
const dots = () => make('div.bubble', { ariaHidden: 'true' }, make('div.dots', {}, make('i'), make('i'), make('i')));

const host = make('mia-chat');
const shadow = host.attachShadow({ mode: 'open' });
const sheet = new CSSStyleSheet();
sheet.replaceSync(CSS);
shadow.adoptedStyleSheets = [sheet];

const badge = make('span.badge');
const fab = button('fab', '', () => (isOpen ? close() : open()), icon('talk'), icon('down'), badge);
const face = make('div.face', { ariaHidden: 'true' });
const title = make('h2', { dir: 'auto' });
const status = make('p.status');
const menu = make('details', {}, make('summary.icon', { ariaLabel: words.forget }, icon('forget')),
  button('menu', words.forget, () => { menu.open = false; forget(); field.focus(); }, words.forget));
const header = make('header', {}, face, make('div.name', {}, title, status), menu, button('icon', words.close, close, icon('close')));
const typing = make('div.msg', { hidden: true }, dots());
const log = make('div.log', { role: 'log', ariaLive: 'off', tabIndex: 0, onscroll }, typing);
const spoken = make('div.sr', { role: 'status' });
const net = make('p.net', { role: 'status' });
const field = make('textarea', { rows: 1, maxLength: 8000, dir: 'auto', placeholder: words.ask, ariaLabel: words.ask, enterKeyHint: 'send', oninput, onkeydown });
const go = make('button.go', { type: 'submit' });
const bar = make('div.bar', {}, net, make('form', { onsubmit }, field, go));
const panel = make('div.panel', { role: 'dialog', tabIndex: -1, hidden: true }, header, log, bar, spoken);
const root = make('div.root', { dir: lingo(locale) === 'ar' ? 'rtl' : 'ltr', lang: locale }, panel, fab);
root.classList.add('wait', position || 'auto');
shadow.append(root);

function repaint(item, changes) {
  Object.assign(item, changes);
  if (!dirty.size) requestAnimationFrame(paintDirty);
  dirty.add(item);
}

function paintDirty() {
  const now = [...dirty];
  dirty.clear();
  now.forEach(paint);
  scrollDown();
}

function paint(item) {
  if (!item.bubble) {
    item.who = make(item.role === 'agent' ? 'div.who' : 'div.sr');
    item.bubble = make('div.bubble', { dir: 'auto' });
    item.under = make('div.under');
    item.dots = item.live ? dots() : '';
    item.node.append(item.who, item.dots, item.bubble, item.under);
  }
  item.who.textContent = item.role === 'user' ? words.you : item.name || title.textContent;
  item.node.classList.toggle('sending', !!item.sending);
  if (/user|note/.test(item.role)) item.bubble.textContent = item.text;
  else paintAnswer(item);
  paintUnder(item);
}

/** Each frame shows a share of what is left: bursts become an even flow. */
function paintAnswer(item) {
  const left = item.points.length - item.shown;
  item.shown += item.live && !document.hidden ? Math.ceil(left / 6) : left;
  if (item.shown < item.points.length) repaint(item);
  const text = item.points.slice(0, item.shown).join('');
  cited = item.citations;
  renderMarkdown(item.bubble, item.live ? mend(text) : text);
  show(item.bubble, text);
  if (item.dots) show(item.dots, item.live && !text);
}

function paintUnder(item) {
  const parts = [];
  if (item.live && item.line) parts.push(item.line);
  if (item.problem) {
    const seconds = Math.ceil((item.until - Date.now()) / 1_000);
    const again = make('button.chip', { type: 'button', disabled: seconds > 0, onclick: () => retry(item) }, words.retry + (seconds > 0 ? ` (${seconds})` : ''));
    if (seconds > 0) setTimeout(repaint, 1_000, item);
    parts.push(make('span.bad', {}, item.problem), again);
  }
  if (item.citations.length) parts.push(`${words.sources}:`);
  item.citations.forEach(({ index, title: name, url }, i) => parts.push(link(url, [`${index ?? i + 1} · ${name || url}`], '.chip')));
  item.under.replaceChildren(...parts);
  show(item.under, parts.length);
}

function greet() {
  const text = config?.bot.first_message;
  if (text && !items.some((item) => item.role === 'greeting')) add({ role: 'greeting', points: Array.from(text) }, items[0]);
}

function setMode(next) {
  const changed = next && next !== mode;
  mode = next || mode;
  status.textContent = words[mode];
  if (changed) emit('mode', mode);
  return changed;
}

function setTrouble(name) {
  trouble = name;
  const word = navigator.onLine ? name : 'offline';
  show(net, word);
  net.textContent = words[word] || '';
}

function setComposer() {
  const item = active();
  const does = item?.job && mode === 'ai' ? 'stop' : 'send';
  if (go.ariaLabel !== words[does]) go.replaceChildren(icon(does));
  go.ariaLabel = words[does];
  log.ariaBusy = !!item;
  go.disabled = does === 'send' && (!field.value.trim() || (item && mode === 'ai'));
}

function setUnread(count) {
  unread = count;
  show(badge, count);
  badge.textContent = count;
  fab.ariaLabel = isOpen ? words.close : words.chat + (count ? ` (${count})` : '');
  fab.ariaExpanded = isOpen;
  emit('unread', count);
}

function speak(text) {
  spoken.textContent = text;
}

function scrollDown() {
  if (stick) log.scrollTop = log.scrollHeight;
}

function onscroll() {
  stick = log.scrollHeight - log.scrollTop - log.clientHeight < 60;
}

function oninput() {
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight}px`;
  setComposer();
}

function onkeydown(event) {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  if (active() && mode === 'ai') event.preventDefault();
  else onsubmit(event);
}

function onsubmit(event) {
  event.preventDefault();
  if (go.ariaLabel === words.stop) return stop();
  const text = field.value.trim();
  if (!text || go.disabled) return;
  field.value = '';
  send(add({ role: 'user', text }));
  oninput();
}

function onKeys(event) {
  if (!isOpen) return;
  if (event.key === 'Escape') {
    event.stopPropagation();
    if (!menu.open) return close();
    menu.open = false;
    menu.firstChild.focus();
  }
  if (event.key !== 'Tab') return;
  const stops = [...root.querySelectorAll('button,summary,textarea,a[href],[tabindex="0"]')].filter((node) => !node.disabled && node.checkVisibility());
  const [from, to] = event.shiftKey ? [stops[0], stops.at(-1)] : [stops.at(-1), stops[0]];
  if (shadow.activeElement !== from && shadow.activeElement !== panel) return;
  event.preventDefault();
  to.focus();
}

/** On a phone the panel covers what the keyboard leaves visible. */
function fit() {
  const view = window.visualViewport;
  panel.ariaModal = phone.matches;
  panel.style.setProperty('--tall', `${view.height}px`);
  panel.style.setProperty('--top', `${view.offsetTop}px`);
  scrollDown();
}

function setOpen(on) {
  isOpen = on;
  show(panel, on);
  root.classList.toggle('open', on);
  if (session.id) remember({ open: on });
  setUnread(0);
  emit(on ? 'open' : 'close');
}

function open(quietly) {
  if (isOpen) return;
  opener = document.activeElement;
  setOpen(true);
  fit();
  oninput();
  if (quietly !== true) (matchMedia('(pointer:coarse)').matches ? panel : field).focus();
  if (starting) refresh();
  else start();
}

function close() {
  if (!isOpen) return;
  const focused = shadow.activeElement;
  menu.open = false;
  setOpen(false);
  settle();
  if (!focused) return;
  fab.focus();
  opener.focus();
}

// ---- Start

const listeners = [];
let starting = null;

function emit(name, value) {
  listeners.forEach(([wish, listener]) => wish === name && setTimeout(listener, 0, value));
}

function start() {
  starting = starting || begin().catch(() => { starting = null; });
}

async function begin() {
  try {
    config = await request('GET', `chat/config${bot ? `?bot_id=${bot}` : ''}`);
  } catch (error) {
    if (await isRefused(error)) {
      setTrouble('blocked');
      console.warn(`MIA: the key is not valid, or does not allow ${location.origin}.`);
    }
    throw error;
  } finally {
    root.classList.remove('wait');
  }
  const { name, look = {} } = config.bot;
  setTrouble('');
  title.textContent = look.title || name;
  [face.textContent] = name;
  if (!color) host.style.setProperty('--mia-color', look.color);
  if (!position && look.position === 'left') root.classList.add('left');
  greet();
  const { pending } = session;
  const unsent = pending && Date.now() - pending.at < 600_000 && add({ role: 'user', ...pending });
  if (session.id) await loadHistory().catch(() => {});
  if (unsent) send(unsent);
  emit('ready');
}

function onVisible() {
  wake();
  items.forEach((item) => repaint(item));
  refresh();
}

function onStorage() {
  const saved = recall();
  if (saved.id === session.id || active()) return;
  session = saved;
  clear();
  if (session.id) loadHistory().catch(() => {});
}

const ticking = setInterval(() => {
  const now = Date.now();
  if (stream && now - stream.heardAt > QUIET_MS) stream.abort();
  if (stream && active()?.job && now - newsAt > 20_000) {
    newsAt = now;
    loadHistory().catch(() => {});
  }
}, 5_000);

const commands = {
  open,
  close,
  forget,
  send(text) {
    open();
    if (!active()) send(add({ role: 'user', text: String(text) }));
  },
  on: (name, listener) => listeners.push([name, listener]),
  destroy() {
    close();
    dead = true;
    life.abort();
    clearInterval(ticking);
    settle();
    wake();
    host.remove();
    delete window.MIA;
  },
};

const life = new AbortController();
const on = (target, names, listener) => names.split(' ').forEach((name) => target.addEventListener(name, listener, { signal: life.signal }));

function mount() {
  const early = window.MIA?.q || [];
  window.MIA = (name, ...rest) => { commands[name](...rest); };
  window.MIA.ready = true;
  session = recall();
  title.textContent = words.ai;
  host.style.setProperty('--mia-color', color || '');
  setUnread(0);
  setMode('ai');
  setTrouble('');
  setComposer();
  document.body.append(host);
  on(window, 'online offline', () => { setTrouble(trouble); wake(); });
  on(window, 'storage', onStorage);
  on(document, 'visibilitychange', onVisible);
  on(root, 'keydown', onKeys);
  on(window.visualViewport, 'resize scroll', fit);
  on(root, 'pointerdown', ({ target }) => { menu.open &&= menu.contains(target); });
  new ResizeObserver(scrollDown).observe(log);
  early.forEach((call) => window.MIA(...call));
  if (opened !== 'false' || (session.open && !phone.matches)) open(true);
  (window.requestIdleCallback || setTimeout)(start);
  setTimeout(() => root.classList.remove('wait'), 2_500);
}

if (document.body) mount();
else document.addEventListener('DOMContentLoaded', mount);
})();
