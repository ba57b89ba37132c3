/** The page of `portcullis ui`. Data comes from the server beside it, with the token that is behind the # of the address. */
(() => {
  const token = location.hash.slice(1);
  const AGENTS_MS = 3000;
  const CLUSTER_MS = 10_000;
  const EDIT_MS = 350;
  const state = {
    tab: 'matrix',
    cluster: undefined,
    agents: { nodes: [], drops: [], counts: {}, problems: [] },
    matrix: '',
    search: '',
    isPaused: false,
    edit: { key: '', yaml: '', without: '' },
    open: new Set(),
  };

  /** An element; texts of a cluster are only ever texts. */
  function h(tag, props = {}, ...children) {
    const { dataset = {}, on = {}, ...rest } = props;
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(rest)) {
      if (value === undefined) continue;
      if (key in made && key !== 'list') made[key] = value;
      else made.setAttribute(key, value);
    }
    Object.assign(made.dataset, dataset);
    for (const [event, listener] of Object.entries(on)) made.addEventListener(event, listener);
    made.append(...children.flat().filter((child) => child !== undefined && child !== false));
    return made;
  }

  async function ask(path, body) {
    const options = { headers: { 'x-portcullis-ui-token': token } };
    const response = await fetch(
      path,
      body === undefined ? options : { ...options, method: 'POST', body: JSON.stringify(body) },
    );
    const text = await response.text();
    if (!response.ok) throw new Error(text.trim());
    return text;
  }

  // ------------------------------------------------------------------------------------------------------------- frame

  const TABS = [
    ['matrix', 'Matrix'],
    ['policies', 'Policies'],
    ['drops', 'Drops'],
    ['what-if', 'What if'],
    ['nodes', 'Nodes'],
  ];
  const view = h('div', { className: 'view', id: 'view' });
  const banner = h('p', { className: 'banner', role: 'alert', hidden: true });
  const source = h('span', { className: 'source' });
  const tabs = h('div', { className: 'tabs' });
  const scheme = h(
    'select',
    { ariaLabel: 'Colours', on: { change: () => setScheme(scheme.value) } },
    ...[
      ['', 'colours of the system'],
      ['light', 'light'],
      ['dark', 'dark'],
    ].map(([value, text]) => h('option', { value }, text)),
  );
  document
    .getElementById('portcullis-ui')
    .replaceChildren(
      h(
        'div',
        { className: 'ui' },
        h(
          'nav',
          { className: 'bar', 'aria-label': 'What is shown' },
          h('h1', { className: 'mark' }, 'portcullis'),
          tabs,
          h('span', { className: 'spread' }),
          source,
          scheme,
        ),
        banner,
        view,
      ),
    );

  function setScheme(value) {
    if (value === '') delete document.documentElement.dataset.scheme;
    else document.documentElement.dataset.scheme = value;
  }

  function drawTabs() {
    const { policies = [], isLive } = state.cluster ?? {};
    const { drops, nodes } = state.agents;
    const late = nodes.filter(({ ok }) => !ok).length;
    const counts = {
      policies: policies.length,
      drops: drops.length,
      nodes: late > 0 ? `${late} of ${nodes.length}` : nodes.length,
    };
    tabs.replaceChildren(
      ...TABS.filter(([id]) => isLive || !['drops', 'nodes'].includes(id)).map(([id, text]) =>
        h(
          'button',
          {
            type: 'button',
            dataset: { tab: id },
            ariaCurrent: id === state.tab ? 'page' : 'false',
            on: { click: () => show(id) },
          },
          text,
          counts[id]
            ? h('span', { className: id === 'nodes' && late > 0 ? 'count bad' : 'count' }, `${counts[id]}`)
            : undefined,
        ),
      ),
    );
  }

  function show(tab) {
    state.tab = tab;
    state.search = '';
    drawTabs();
    draw();
    document.querySelector(`[data-tab="${tab}"]`)?.focus();
  }

  function draw() {
    view.className = `view ${state.tab}`;
    // The matrix is a main part itself.
    if (['matrix', 'what-if'].includes(state.tab)) view.removeAttribute('role');
    else view.setAttribute('role', 'main');
    if (!state.cluster) return;
    VIEWS[state.tab]();
  }

  function problem(text) {
    banner.textContent = text;
    banner.hidden = text === '';
  }

  // ------------------------------------------------------------------------------------------------------------ matrix

  /** The matrix is left as it is while somebody looks at it; a newer one is offered. */
  async function drawMatrix() {
    const text = await ask('/api/matrix').catch((error) => problem(error.message));
    if (!text || state.tab !== 'matrix') return;
    state.matrix = text;
    const root = h('div', { className: 'fill' });
    view.replaceChildren(root);
    globalThis.portcullisMatrix(root, JSON.parse(text));
  }

  async function lookForNewMatrix() {
    if (state.tab !== 'matrix' || state.matrix === '' || !state.cluster?.isLive) return;
    const text = await ask('/api/matrix');
    if (text === state.matrix || state.tab !== 'matrix' || view.querySelector('.newer')) return;
    view.append(
      h(
        'button',
        { type: 'button', className: 'newer', on: { click: drawMatrix } },
        'The cluster has changed: show it',
      ),
    );
  }

  // ---------------------------------------------------------------------------------------------------------- policies

  function searchField(label) {
    const field = h('input', {
      type: 'search',
      value: state.search,
      placeholder: label,
      ariaLabel: label,
      dataset: { part: 'search' },
    });
    field.addEventListener('input', () => {
      state.search = field.value;
      fill();
    });
    return field;
  }

  /** What is listed below the tools of a view; drawn anew without them. */
  let fill = () => {};

  function listed(items, textOf) {
    const wanted = state.search.trim().toLowerCase();
    return wanted === '' ? items : items.filter((item) => textOf(item).toLowerCase().includes(wanted));
  }

  function drawPolicies() {
    const body = h('div', { className: 'body' });
    view.replaceChildren(h('div', { className: 'tools' }, searchField('Search policies')), body);
    fill = () => {
      const found = listed(state.cluster.policies, nameOf);
      body.replaceChildren(found.length === 0 ? empty('No policy has that name.') : policyTable(found));
    };
    fill();
  }

  function policyTable(policies) {
    const heads = ['Policy', 'Mode', 'Pods', 'Ingress', 'Egress'];
    const counted = state.cluster.isLive ? ['Allowed', 'Denied', 'Would deny'] : [];
    const head = [...heads, ...counted, 'Edit'].map((text, index) =>
      h('th', { scope: 'col', className: index > 1 ? 'number' : '' }, text),
    );
    return h(
      'table',
      {},
      h('thead', {}, h('tr', {}, ...head)),
      h('tbody', {}, ...policies.map((policy) => policyRow(policy, counted))),
    );
  }

  /** `/name` is what the server calls a policy of the whole cluster. */
  function nameOf({ namespace, name, tier }) {
    return tier ? `cluster-wide ${tier} ${name}` : `${namespace}/${name}`;
  }

  function policyRow(policy, counted) {
    const { namespace, name, tier, priority, mode, pods, ingress, egress, problems } = policy;
    const rules = (count) =>
      count === undefined ? '–' : count === 0 ? 'closed' : `${count} ${count === 1 ? 'rule' : 'rules'}`;
    const counts = ['ingress', 'egress'].map(
      (direction) => state.agents.counts[`${namespace}/${name} ${direction}`] ?? {},
    );
    const total = (field) => counts.reduce((sum, each) => sum + (each[field] ?? 0), 0);
    const cell = (text) => h('td', { className: 'number' }, text);
    return h(
      'tr',
      {},
      h(
        'td',
        {},
        h('span', { className: 'quiet' }, tier ? `${tier} ${priority} ` : `${namespace}/`),
        h('b', {}, name),
        ...problems.map((text) => h('p', { className: 'wrong' }, text)),
      ),
      h('td', {}, badge(mode, mode === 'audit' ? 'warn' : 'good')),
      cell(pods === 0 ? h('span', { className: 'wrong' }, 'none') : `${pods}`),
      cell(rules(ingress)),
      cell(rules(egress)),
      ...(counted.length > 0
        ? ['allowed', 'denied', 'wouldDeny'].map((field) => cell(total(field).toLocaleString('en')))
        : []),
      h(
        'td',
        { className: 'number' },
        h(
          'button',
          {
            type: 'button',
            ariaLabel: `What if ${nameOf(policy)}`,
            on: { click: () => edit(`${namespace}/${name}`) },
          },
          'What if',
        ),
      ),
    );
  }

  function badge(text, kind) {
    return h('span', { className: `badge ${kind}` }, text);
  }

  function empty(text) {
    return h('p', { className: 'empty' }, text);
  }

  // ------------------------------------------------------------------------------------------------------------- drops

  const VERDICTS = { denied: 'bad', 'would-deny': 'warn', 'live-flow-cut': 'bad' };

  function drawDrops() {
    const body = h('div', { className: 'body' });
    const pause = h('button', { type: 'button', dataset: { part: 'pause' } });
    const label = () => {
      pause.textContent = state.isPaused ? 'Go on' : 'Hold';
    };
    pause.addEventListener('click', () => {
      state.isPaused = !state.isPaused;
      label();
      fill();
    });
    label();
    view.replaceChildren(
      h(
        'div',
        { className: 'tools' },
        searchField('Search drops'),
        pause,
        h('span', { className: 'quiet' }, 'the latest first, as agents tell them'),
      ),
      body,
    );
    fill = () => {
      const found = listed(state.agents.drops, ({ text }) => text);
      const none = state.search === '' ? 'Nothing was denied that agents still tell of.' : 'No drop has that in it.';
      body.replaceChildren(
        ...state.agents.problems.map((text) => h('p', { className: 'wrong' }, text)),
        ...(found.length === 0 ? [empty(none)] : found.map(dropCard)),
      );
    };
    fill();
  }

  function endName({ pod, node, address, outside }) {
    const name = pod ?? (node ? `node/${node}` : address);
    return h('span', { className: 'end', title: address }, name, outside ? h('small', {}, ' outside') : undefined);
  }

  function dropCard(drop) {
    const {
      time,
      verdict,
      source: from,
      destination: to,
      protocol,
      port,
      direction,
      node,
      packets,
      policies,
      note,
      remedy,
    } = drop;
    const key = `${time} ${node} ${from.address} ${to.address} ${port}`;
    const card = h(
      'details',
      { className: 'drop', open: state.open.has(key) },
      h(
        'summary',
        {},
        h('time', { dateTime: time, title: time }, time.slice(11, 19)),
        badge(verdict, VERDICTS[verdict] ?? 'bad'),
        h(
          'span',
          { className: 'flow' },
          endName(from),
          h('span', { className: 'arrow', ariaLabel: 'to' }, '→'),
          endName(to),
        ),
        h('code', {}, `${protocol}${port === undefined ? '' : ` ${port}`}`),
        h('span', { className: 'quiet' }, `${direction ?? 'new pod'} on ${node}`),
        h('span', { className: 'quiet packets' }, `${packets} ${packets === 1 ? 'packet' : 'packets'}`),
      ),
      h(
        'div',
        { className: 'why' },
        h(
          'ul',
          {},
          ...policies.map(({ policy, why }) => h('li', {}, h('b', {}, policy), why === undefined ? '' : ` ${why}`)),
          ...(note === undefined ? [] : [h('li', {}, note)]),
        ),
        remedy
          ? h('div', { className: 'remedy' }, h('p', {}, `To allow it, ${remedy.head}:`), h('pre', {}, remedy.yaml))
          : undefined,
        remedy?.head === 'apply'
          ? h('button', { type: 'button', on: { click: () => edit('', remedy.yaml) } }, 'What if it were applied')
          : undefined,
      ),
    );
    card.addEventListener('toggle', () => state.open[card.open ? 'add' : 'delete'](key));
    return card;
  }

  // ----------------------------------------------------------------------------------------------------------- what if

  function edit(key, yaml) {
    const policy = state.cluster.policies.find(({ namespace, name }) => `${namespace}/${name}` === key);
    state.edit = { key, yaml: yaml ?? policy?.yaml ?? NEW_POLICY, without: '' };
    show('what-if');
  }

  const NEW_POLICY = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  namespace: default
  name: default-deny
spec:
  podSelector: {}
  policyTypes:
    - Ingress
`;

  function drawWhatIf() {
    const result = h('div', { className: 'fill result' });
    const problems = h('ul', { className: 'problems', ariaLive: 'polite' });
    const choice = h(
      'select',
      { ariaLabel: 'Policy to edit', dataset: { part: 'choice' } },
      h('option', { value: '' }, 'a new policy'),
      ...state.cluster.policies.map((policy) =>
        h('option', { value: `${policy.namespace}/${policy.name}` }, nameOf(policy)),
      ),
    );
    choice.value = state.edit.key;
    const text = h('textarea', {
      spellcheck: false,
      ariaLabel: 'The policy as YAML',
      dataset: { part: 'yaml' },
      value: state.edit.yaml === '' ? NEW_POLICY : state.edit.yaml,
    });
    const gone = h(
      'button',
      { type: 'button', dataset: { part: 'gone' }, hidden: state.edit.key === '' },
      'As if deleted',
    );
    const back = h('button', { type: 'button', hidden: state.edit.key === '' }, 'As it is');
    choice.addEventListener('change', () => edit(choice.value));
    back.addEventListener('click', () => edit(choice.value));
    gone.addEventListener('click', () => {
      text.value = '';
      state.edit = { ...state.edit, yaml: '', without: choice.value };
      void compare();
    });
    let timer;
    text.addEventListener('input', () => {
      state.edit = { ...state.edit, yaml: text.value, without: text.value.trim() === '' ? choice.value : '' };
      clearTimeout(timer);
      timer = setTimeout(compare, EDIT_MS);
    });
    view.replaceChildren(
      h(
        'section',
        { className: 'editor', ariaLabel: 'Edit' },
        h('div', { className: 'tools' }, choice, back, gone),
        text,
        problems,
        h(
          'p',
          { className: 'quiet' },
          'Nothing is written to the cluster: what is here is compared with what is there.',
        ),
      ),
      result,
    );
    let asked = 0;
    const compare = async () => {
      const mine = ++asked;
      const answer = await ask('/api/what-if', { yaml: text.value, without: state.edit.without }).then(
        JSON.parse,
        (error) => ({ problems: [error.message] }),
      );
      if (mine !== asked || state.tab !== 'what-if') return;
      problems.replaceChildren(...answer.problems.map((each) => h('li', {}, each)));
      if (answer.matrix) globalThis.portcullisMatrix(result, answer.matrix);
    };
    void compare();
  }

  // ------------------------------------------------------------------------------------------------------------- nodes

  function drawNodes() {
    const body = h('div', { className: 'body' });
    view.replaceChildren(h('div', { className: 'tools' }, searchField('Search nodes')), body);
    fill = () => {
      const found = listed(state.agents.nodes, ({ node, why }) => `${node} ${why ?? ''}`);
      const heads = ['Node', 'State', 'Mode', 'Revision', 'In force since', 'Behind', 'Agent'];
      body.replaceChildren(
        ...state.agents.problems.map((text) => h('p', { className: 'wrong' }, text)),
        found.length === 0
          ? empty('No node has that name.')
          : h(
              'table',
              {},
              h('thead', {}, h('tr', {}, ...heads.map((text) => h('th', { scope: 'col' }, text)))),
              h('tbody', {}, ...found.map(nodeRow)),
            ),
      );
    };
    fill();
  }

  function nodeRow({ node, ok, why, mode, revision, since, staleMs, version }) {
    return h(
      'tr',
      {},
      h('td', {}, h('b', {}, node)),
      h(
        'td',
        {},
        ok ? badge('in force', 'good') : badge('behind', 'bad'),
        ok ? undefined : h('span', { className: 'reason' }, ` ${why}`),
      ),
      h('td', {}, mode === null ? '–' : badge(mode, mode === 'enforce' ? 'good' : 'warn')),
      h('td', {}, `${revision ?? '–'}`),
      h('td', {}, since ? since.slice(0, 19).replace('T', ' ') : '–'),
      h('td', {}, staleMs > 0 ? `${(staleMs / 1000).toFixed(1)} s` : version ? '0 s' : '–'),
      h('td', {}, version ?? '–'),
    );
  }

  // -------------------------------------------------------------------------------------------------------------- data

  const VIEWS = {
    matrix: drawMatrix,
    policies: drawPolicies,
    drops: drawDrops,
    'what-if': drawWhatIf,
    nodes: drawNodes,
  };
  let lastCluster = '';
  let lastAgents = '';

  async function readCluster() {
    const text = await ask('/api/cluster');
    if (text === lastCluster) return;
    const isFirst = lastCluster === '';
    lastCluster = text;
    state.cluster = JSON.parse(text);
    source.textContent = state.cluster.source;
    drawTabs();
    if (isFirst) {
      draw();
      if (state.cluster.isLive) void follow(readAgents, AGENTS_MS);
    }
    if (!isFirst && state.tab === 'policies') fill();
  }

  async function readAgents() {
    const text = await ask('/api/agents');
    if (text === lastAgents || state.isPaused) return;
    lastAgents = text;
    state.agents = JSON.parse(text);
    drawTabs();
    if (['policies', 'drops', 'nodes'].includes(state.tab)) fill();
  }

  /** One after the other, also where one takes long; what fails is tried again. */
  async function follow(read, ms) {
    for (;;) {
      try {
        await read();
        problem('');
      } catch (error) {
        problem(
          error instanceof TypeError ? 'portcullis ui has ended: what is here is what it said last.' : error.message,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, document.hidden ? 5 * ms : ms));
    }
  }

  drawTabs();
  void follow(readCluster, CLUSTER_MS);
  void follow(lookForNewMatrix, CLUSTER_MS);
})();
