/**
 * Every line the agent may ever write, as a grammar: whatever an object was called or said, its text is a word inside of a comment
 * or it is not there. Written from the tools' manuals, not from the writer in src/render.
 */

const CHAIN = 'PCL-(?:EG|IN)R?(?:-[0-9a-f])*|PCL-(?:FWD|INP)(?:-RECHECK)?|PCL-RPL|PCL-[EI]R?-(?:[a-z2-7]{16}|closed)';
const SET = String.raw`PCL[46]-[a-z2-7]{16}\+?`;
const ADDRESS = '[0-9a-f.:]{2,39}';
const HEX = '0x[0-9a-f]{1,8}';
const PORT = String.raw`\d{1,5}(?::\d{1,5})?`;
/** One word, quoted if it has anything in it that could mean something to the tool; nothing that could end it. */
const WORD = String.raw`(?:[A-Za-z0-9_-]+|"[ !#-&(-[\]-~]*")`;

const MATCHES = [
  `-[sd] ${ADDRESS}/(?:\\d{1,3}|0\\.0\\.\\d{1,3}\\.\\d{1,3}|::[0-9a-f]{0,4})`,
  '-p (?:tcp|udp|sctp|icmp|ipv6-icmp)',
  String.raw`(?:! )?-[io] [A-Za-z0-9._-]{1,15}\+?`,
  String.raw`-m physdev --physdev-(?:in|out) [A-Za-z0-9._-]{1,15}\+?(?: --physdev-is-bridged)?`,
  '-m conntrack (?:! )?--ctstate (?:INVALID|NEW|RELATED|ESTABLISHED|RELATED,ESTABLISHED)(?: --ctdir REPLY)?',
  `-m connmark (?:! )?--mark ${HEX}/${HEX}`,
  String.raw`-m bpf --bytecode "[\d ,]{1,600}"`,
  `-m (?:tcp|udp|sctp) --dport ${PORT}`,
  `-m (?:tcp|udp|sctp) --sport ${PORT}`,
  `-m multiport --[ds]ports ${PORT}(?:,${PORT}){0,14}`,
  `-m set (?:! )?--match-set ${SET} (?:src|dst)(?:,(?:src|dst))?`,
  '-m addrtype --(?:src|dst)-type LOCAL',
  String.raw`-m limit --limit \d+/sec(?: --limit-burst \d+)?`,
  `-m comment --comment ${WORD}`,
].join('|');

const TARGETS = [
  '-j (?:RETURN|DROP)',
  `-[jg] (?:${CHAIN})`,
  `-j CONNMARK --set-xmark ${HEX}/${HEX}`,
  String.raw`-j NFLOG --nflog-prefix ${WORD} --nflog-group \d{1,5}`,
].join('|');

const RULE = `(?:(?:${MATCHES})(?: (?:${MATCHES}))*(?: (?:${TARGETS}))?|(?:${TARGETS}))`;

const HOOK_RULE = `(?:-m conntrack (?:! )?--ctstate (?:NEW|RELATED,ESTABLISHED) |-m connmark ! --mark ${HEX}/${HEX} )-j PCL-(?:FWD|INP)(?:-RECHECK)?`;

const RULES_LINE = new RegExp(
  `^(?:${[
    String.raw`\*mangle`,
    'COMMIT',
    String.raw`:(?:${CHAIN}) - \[0:0\]`,
    `-A (?:${CHAIN}) ${RULE}`,
    `-X (?:${CHAIN})`,
    `-I (?:FORWARD|INPUT) [12] ${HOOK_RULE}`,
    `-D (?:FORWARD|INPUT) ${HOOK_RULE}`,
  ].join('|')})$`,
);

const MEMBER = String.raw`${ADDRESS}(?:/\d{1,3}|,(?:6|17|132):\d{1,5})?`;
const SETS_LINE = new RegExp(
  `^(?:${[
    String.raw`create ${SET} (?:hash:ip|hash:net|hash:ip,port) family inet6? hashsize \d+ maxelem \d+`,
    `add ${SET} ${MEMBER}(?: nomatch)?`,
    `del ${SET} ${MEMBER}`,
    `swap ${SET} ${SET}`,
    `destroy ${SET}`,
  ].join('|')})$`,
);

/** Limits of the kernel and of the tools. */
const MAX_LINE = 1024;
const MAX_COMMENT = 255;
const MAX_LOG_PREFIX = 63;

/** Why the line must not be written; undefined if it may. */
export function faultOf(kind: 'rules' | 'sets', line: string): string | undefined {
  if (!(kind === 'rules' ? RULES_LINE : SETS_LINE).test(line)) return `not in the grammar: ${JSON.stringify(line)}`;
  if (line.length > MAX_LINE) return `too long: ${line}`;
  const comment = /--comment "([^"]*)"/.exec(line)?.[1] ?? '';
  const prefix = /--nflog-prefix "?([^"]*)"? --nflog-group/.exec(line)?.[1] ?? '';
  if (comment.length > MAX_COMMENT || prefix.length > MAX_LOG_PREFIX) return `comment or prefix too long: ${line}`;
  return undefined;
}
