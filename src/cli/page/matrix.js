/**
 * The matrix as a page shows it: `portcullisMatrix(root, data)` fills `root`. Data is what page-data.ts makes. Only cells in view are elements.
 * Keyboard and roles are those of a grid (WAI-ARIA 1.2): one cell can be reached by Tab, arrows move on.
 */
globalThis.portcullisMatrix = (root, data) => {
  const before = data.worlds.length > 1 ? 0 : -1;
  const now = data.worlds.length - 1;
  const isDiff = before >= 0;
  const model = readModel(data);
  const state = {
    from: '',
    to: '',
    namespace: '',
    port: -1,
    onlyChanges: isDiff,
    folded: new Set(model.groups.length > 60 ? model.namespaces : []),
    at: { row: 0, column: 0 },
    chosen: undefined,
  };
  let axes = { rows: [], columns: [] };
  let size = { width: 0, height: 0, head: 0, names: 0 };

  root.innerHTML = TEMPLATE;
  const $ = (name) => root.querySelector(`[data-part="${name}"]`);
  const [scroller, grid, details, status] = ['scroller', 'grid', 'details', 'status'].map($);
  $('title').textContent = data.title;
  $('summary').textContent = data.summary;
  $('legend').innerHTML = isDiff ? DIFF_LEGEND : LEGEND;
  $('changes').hidden = !isDiff;
  $('changes').querySelector('input').checked = isDiff;
  fillChoices();
  listen();
  rebuild();
  describeNothing();
  return { rebuild };

  // ---------------------------------------------------------------------------------------------------------- what to show

  function fillChoices() {
    const option = (value, text) => Object.assign(document.createElement('option'), { value, textContent: text });
    for (const name of model.namespaces) $('namespace').append(option(name, name));
    for (const [index, { name }] of data.ports.entries())
      if (model.shown.includes(index)) $('port').append(option(index, name));
    const known = [...model.namespaces.map((name) => `${name}/`), ...model.groups.map(({ title }) => title)];
    for (const name of known.slice(0, 500)) $('known').append(option(name, ''));
  }

  function ports() {
    return state.port >= 0 ? [state.port] : model.shown;
  }

  /** Groups, or whole namespaces where they are folded. */
  function axisOf(groups, text) {
    const wanted = text.trim().toLowerCase();
    const isMeant = (group) => wanted === '' || group.search.includes(wanted);
    const items = [];
    for (const group of groups) {
      if (!isMeant(group) || (state.namespace !== '' && group.namespace !== '' && group.namespace !== state.namespace))
        continue;
      const last = items.at(-1);
      const isNext = last && last.namespace === group.namespace && last.type === group.type;
      if (!state.folded.has(group.namespace)) items.push({ ...itemOf([group]), begins: !isNext });
      else if (isNext) Object.assign(last, itemOf([...last.groups, group]), { begins: true });
      else items.push({ ...itemOf([group]), begins: true });
    }
    return items;
  }

  function itemOf(groups) {
    const [first] = groups;
    const isFolded = state.folded.has(first.namespace);
    return {
      groups,
      type: first.type,
      namespace: first.namespace,
      isFolded,
      name: isFolded ? '' : first.name,
      title: isFolded ? first.namespace : first.title,
      count: groups.reduce((sum, { members }) => sum + members.length, 0),
    };
  }

  function rebuild() {
    const sources = model.groups.filter(({ isSource }) => isSource);
    const destinations = model.groups.filter(({ isDestination }) => isDestination);
    let [rows, columns] = [axisOf(sources, state.from), axisOf(destinations, state.to)];
    if (isDiff && state.onlyChanges) {
      const changed = rows.map((row) => columns.map((column) => changeOf(row, column) !== 'same'));
      [rows, columns] = [
        rows.filter((_, index) => changed[index].includes(true)),
        columns.filter((_, index) => changed.some((row) => row[index])),
      ];
    }
    axes = { rows, columns };
    const few = columns.length <= 14;
    const some = columns.length <= 32;
    const longest = Math.max(8, ...columns.slice(0, 400).map(({ title }) => title.length));
    const names = Math.max(8, ...rows.slice(0, 400).map(({ title, count }) => title.length + `${count}`.length + 3));
    size = {
      width: few ? 92 : some ? 46 : 24,
      height: few ? 34 : some ? 28 : 24,
      head: Math.min(230, 30 + longest * 7.4),
      names: Math.min(340, 60 + names * 7.4),
    };
    state.at = { row: Math.min(state.at.row, rows.length - 1), column: Math.min(state.at.column, columns.length - 1) };
    if (state.at.row < 0) state.at.row = 0;
    grid.setAttribute('aria-rowcount', rows.length + 1);
    grid.setAttribute('aria-colcount', columns.length + 1);
    grid.style.width = `${size.names + columns.length * size.width}px`;
    grid.style.height = `${size.head + rows.length * size.height}px`;
    const pods = rows.reduce((sum, { type, count }) => sum + (type === 'pod' ? count : 0), 0);
    status.textContent = `${rows.length} rows (${pods} pods), ${columns.length} columns`;
    draw();
  }

  // ----------------------------------------------------------------------------------------------------------------- cells

  function* pairsOf(row, column) {
    for (const from of row.groups) {
      for (const to of column.groups) {
        if (from.type !== 'pod' && to.type !== 'pod') continue;
        for (const [source, count] of from.parts) {
          for (const [destination, others] of to.parts) {
            if (data.families[source] !== data.families[destination]) continue;
            const pairs = from === to && source === destination ? count * (count - 1) : count * others;
            if (pairs > 0) yield { source, destination, pairs };
          }
        }
      }
    }
  }

  /** Of one state of the cluster: pairs, and of each class of ports how many of them are allowed. */
  function cellOf(row, column, world) {
    const allowed = new Array(data.ports.length).fill(0);
    let total = 0;
    for (const { source, destination, pairs } of pairsOf(row, column)) {
      const rows = model.rowsBetween(world, source, destination);
      if (!rows) continue;
      total += pairs;
      for (let port = 0; port < allowed.length; port++)
        if (model.passes[rows.egress[port]] && model.passes[rows.ingress[port]]) allowed[port] += pairs;
    }
    return { total, allowed };
  }

  function changeOf(row, column) {
    const seen = { allowed: false, denied: false };
    if (!row.groups.some(({ sendsAnew }) => sendsAnew) && !column.groups.some(({ receivesAnew }) => receivesAnew))
      return 'same';
    for (const { source, destination } of pairsOf(row, column)) {
      const [old, next] = [model.rowsBetween(before, source, destination), model.rowsBetween(now, source, destination)];
      // What is gone has no flows that could be denied.
      if (!next || (old?.egress === next.egress && old.ingress === next.ingress)) continue;
      for (const port of ports()) {
        const [was, is] = [passesAt(old, port), passesAt(next, port)];
        if (is && !was) seen.allowed = true;
        if (was && !is) seen.denied = true;
      }
      if (seen.allowed && seen.denied) return 'both';
    }
    return seen.allowed ? 'newly-allowed' : seen.denied ? 'newly-denied' : 'same';
  }

  function passesAt(rows, port) {
    return rows !== undefined && model.passes[rows.egress[port]] && model.passes[rows.ingress[port]];
  }

  function textOf({ total, allowed }) {
    const asked = ports();
    const open = asked.filter((port) => allowed[port] > 0);
    if (open.length === 0) return '';
    const isWhole = (port) => allowed[port] === total;
    const rest = asked.filter((port) => data.ports[port].isRest);
    if (open.length === asked.length && (rest.length > 0 || asked.length === 1))
      return open.every(isWhole) ? 'all' : 'all~';
    const but = asked.filter((port) => allowed[port] === 0);
    if (rest.length > 0 && rest.every(isWhole) && open.every(isWhole) && but.length <= 4)
      return `all but ${but.map((port) => data.ports[port].name).join(' ')}`;
    return open.map((port) => `${data.ports[port].name}${isWhole(port) ? '' : '~'}`).join(' ');
  }

  function shareOf({ total, allowed }) {
    const asked = ports();
    return asked.reduce((sum, port) => sum + allowed[port], 0) / (total * asked.length);
  }

  // ------------------------------------------------------------------------------------------------------------------ drawing

  function draw() {
    const hadFocus = grid.contains(document.activeElement);
    const { rows, columns } = axes;
    const [firstRow, lastRow] = range(scroller.scrollTop, scroller.clientHeight - size.head, size.height, rows.length);
    const [firstColumn, lastColumn] = range(
      scroller.scrollLeft,
      scroller.clientWidth - size.names,
      size.width,
      columns.length,
    );
    const parts = [headOf(firstColumn, lastColumn)];
    // The cell that Tab reaches is always there.
    const shown = new Set([state.at.row]);
    for (let row = firstRow; row < lastRow; row++) shown.add(row);
    const across = new Set(state.at.column >= 0 ? [state.at.column] : []);
    for (let column = firstColumn; column < lastColumn; column++) across.add(column);
    for (const row of [...shown].sort((a, b) => a - b))
      if (rows[row])
        parts.push(
          rowOf(
            row,
            [...across].sort((a, b) => a - b),
          ),
        );
    grid.replaceChildren(...parts);
    if (rows.length === 0 || columns.length === 0) grid.append(nothing());
    if (hadFocus) focusCell();
  }

  function range(scrolled, visible, step, count) {
    const first = Math.max(0, Math.floor(scrolled / step) - 2);
    return [first, Math.min(count, first + Math.ceil(visible / step) + 5)];
  }

  function element(kind, role, label) {
    const made = document.createElement('div');
    made.className = kind;
    made.setAttribute('role', role);
    if (label !== undefined) made.setAttribute('aria-label', label);
    return made;
  }

  function headOf(first, last) {
    const head = element('head', 'row');
    head.style.height = `${size.head}px`;
    head.setAttribute('aria-rowindex', 1);
    const corner = element('corner', 'columnheader', 'source, by destination');
    corner.setAttribute('aria-colindex', 1);
    corner.style.width = `${size.names}px`;
    corner.innerHTML = '<span>from &#8595;</span><span>to &#8594;</span>';
    head.append(corner);
    for (let index = first; index < last; index++) head.append(columnHead(index));
    return head;
  }

  function columnHead(index) {
    const column = axes.columns[index];
    const made = element('colhead', 'columnheader', headLabel(column));
    if (index === state.at.column) made.classList.add('cross');
    made.setAttribute('aria-colindex', index + 2);
    made.dataset.column = index;
    made.title = headLabel(column);
    made.style.cssText = `left:${size.names + index * size.width}px;width:${size.width}px`;
    if (column.namespace !== '') made.classList.add('can-fold');
    made.append(nameOf(column));
    return made;
  }

  function nameOf({ namespace, name, title, isFolded }) {
    const made = Object.assign(document.createElement('span'), { className: 'name' });
    if (namespace === '' || isFolded) made.textContent = title;
    else
      made.append(
        Object.assign(document.createElement('span'), { className: 'ns', textContent: `${namespace}/` }),
        name,
      );
    return made;
  }

  function headLabel({ title, isFolded, groups, type, count }) {
    const pods = type === 'pod' ? `, ${count} ${count === 1 ? 'pod' : 'pods'}` : '';
    return isFolded && type === 'pod'
      ? `namespace ${title}, ${groups.length} groups${pods}, folded`
      : `${title}${pods}`;
  }

  function rowOf(index, across) {
    const row = axes.rows[index];
    const made = element('row', 'row');
    made.setAttribute('aria-rowindex', index + 2);
    if (index === state.at.row) made.classList.add('cross');
    if (row.begins && index > 0 && !(row.isFolded && axes.rows[index - 1].isFolded)) made.classList.add('begins');
    made.style.cssText = `top:${size.head + index * size.height}px;height:${size.height}px`;
    const head = element('rowhead', 'rowheader', headLabel(row));
    head.setAttribute('aria-colindex', 1);
    head.style.width = `${size.names}px`;
    head.dataset.row = index;
    head.dataset.column = -1;
    head.tabIndex = index === state.at.row && state.at.column < 0 ? 0 : -1;
    head.title = headLabel(row);
    const fold = Object.assign(document.createElement('span'), { className: 'fold', ariaHidden: 'true' });
    if (row.namespace !== '') {
      head.classList.add('can-fold');
      head.setAttribute('aria-expanded', !row.isFolded);
      if (row.isFolded || row.begins) fold.textContent = row.isFolded ? '▸' : '▾';
    }
    const count = Object.assign(document.createElement('span'), { className: 'count' });
    if (row.type !== 'outside' && row.count > 1) count.textContent = row.count;
    head.append(fold, nameOf(row), count);
    made.append(head, ...across.map((column) => cellElement(index, column)));
    return made;
  }

  function cellElement(index, at) {
    const [row, column] = [axes.rows[index], axes.columns[at]];
    const cell = cellOf(row, column, now);
    const made = element('cell', 'gridcell');
    made.setAttribute('aria-colindex', at + 2);
    made.dataset.row = index;
    made.dataset.column = at;
    made.tabIndex = index === state.at.row && at === state.at.column ? 0 : -1;
    made.style.cssText = `left:${size.names + at * size.width + 1}px;width:${size.width - 2}px`;
    const { text, label, share, kind } = faceOf(row, column, cell);
    made.style.setProperty('--share', `${Math.round(share * 100)}%`);
    made.classList.add(...kind);
    made.setAttribute('aria-label', `${row.title} to ${column.title}: ${label}`);
    made.title = made.getAttribute('aria-label');
    const { chosen } = state;
    made.setAttribute(
      'aria-selected',
      chosen !== undefined && chosen.row === row.title && chosen.column === column.title,
    );
    if (made.getAttribute('aria-selected') === 'true') made.classList.add('chosen');
    if (text !== '' && (size.width > 80 || text.length * 7.3 < size.width))
      made.append(Object.assign(document.createElement('span'), { textContent: text }));
    return made;
  }

  function faceOf(row, column, cell) {
    if (isDiff) {
      const change = changeOf(row, column);
      if (change !== 'same') {
        const text = { 'newly-allowed': '+', 'newly-denied': '−', both: '±' }[change];
        return { text, label: CHANGES[change], share: 0, kind: [change] };
      }
    }
    if (cell.total === 0) return { text: '', label: 'no policy is asked', share: 0, kind: ['nobody'] };
    const share = shareOf(cell);
    const text = textOf(cell);
    const said = text === '' ? 'nothing is allowed' : text === 'all' ? 'allowed: all' : `allowed: ${text}`;
    const label = isDiff ? `unchanged, ${said}` : said;
    if (isDiff) return { text: '', label, share: share * 0.25, kind: text === '' ? ['none'] : ['same'] };
    if (share === 1) return { text, label, share, kind: ['much'] };
    // Of few ports among many something must be seen, and text on it can be read up to here.
    return { text, label, share: text === '' ? 0 : 0.2 + share / 2, kind: text === '' ? ['none'] : ['some'] };
  }

  function nothing() {
    const made = element('empty', 'status');
    made.textContent = isDiff && state.onlyChanges ? 'No flow changes.' : 'Nobody has that name.';
    return made;
  }

  // ------------------------------------------------------------------------------------------------------------------ details

  function describe(row, column) {
    details.replaceChildren();
    const add = (tag, text, kind = '') => {
      const made = Object.assign(document.createElement(tag), { textContent: text, className: kind });
      details.append(made);
      return made;
    };
    add('h2', `${row.title} → ${column.title}`);
    const answers = answersOf(row, column);
    if (answers.length === 0) add('p', 'Policies are not asked: neither end is a pod, or there is but one.', 'hint');
    for (const answer of answers) details.append(answerElement(answer));
    for (const [what, item] of [
      ['From', row],
      ['To', column],
    ]) {
      const members = item.groups.flatMap(({ members: names }) => names);
      if (item.type === 'outside' || members.length < 2) continue;
      add('h3', `${what}: ${members.length} ${item.type === 'pod' ? 'pods' : 'nodes'}`);
      const list = add('ul', '');
      for (const name of members.slice(0, 20))
        list.append(Object.assign(document.createElement('li'), { textContent: name }));
      if (members.length > 20) add('p', `and ${members.length - 20} more`, 'hint');
    }
    const [port] = answers.flatMap((answer) => answer.ports).filter((each) => !data.ports[each].isRest);
    if (port !== undefined && answers.length > 0) {
      add('h3', 'Why, in full');
      add('code', `portcullis explain ${endOf(row)} ${endOf(column)} --port ${data.ports[port].ask}`);
    }
  }

  function endOf({ groups: [first] }) {
    return first.type === 'outside'
      ? 'external'
      : first.type === 'node'
        ? `node/${first.members[0]}`
        : first.members[0];
  }

  /** Ports with the same answers and reasons together. */
  function answersOf(row, column) {
    const found = new Map();
    for (const port of ports()) {
      const reasons = new Map();
      for (const { source, destination, pairs } of pairsOf(row, column)) {
        const key = [before, now]
          .filter((world) => world >= 0)
          .map((world) => reasonKey(model.rowsBetween(world, source, destination), port));
        reasons.set(key.join('|'), pairs + (reasons.get(key.join('|')) ?? 0));
      }
      if (reasons.size === 0) continue;
      const sorted = [...reasons].sort(([, a], [, b]) => b - a);
      const key = JSON.stringify(sorted);
      if (found.has(key)) found.get(key).ports.push(port);
      else found.set(key, { ports: [port], reasons: sorted });
    }
    const all = [...found.values()];
    const isOpen = ({ reasons }) => reasons.some(([key]) => isAllowed(key.split('|').at(-1)));
    const isChanged = ({ reasons }) => reasons.some(([key]) => changeIn(key) !== 'same');
    return all.sort((a, b) => isChanged(b) - isChanged(a) || isOpen(b) - isOpen(a));
  }

  function reasonKey(rows, port) {
    return rows ? `${rows.egress[port]},${rows.ingress[port]}` : '';
  }

  function isAllowed(key) {
    return key !== '' && key.split(',').every((verdict) => model.passes[verdict]);
  }

  function changeIn(key) {
    if (!isDiff) return 'same';
    const [was, is] = key.split('|').map(isAllowed);
    return is === was ? 'same' : is ? 'newly-allowed' : 'newly-denied';
  }

  function answerElement({ ports: which, reasons }) {
    const made = document.createElement('div');
    const states = reasons.map(([key]) => isAllowed(key.split('|').at(-1)));
    const changes = reasons.map(([key]) => changeIn(key)).filter((change) => change !== 'same');
    made.className = `answer ${changes[0] ?? (states.includes(true) ? 'yes' : 'no')}`;
    const add = (tag, text, kind = '') =>
      made.append(Object.assign(document.createElement(tag), { textContent: text, className: kind }));
    add('div', which.map((port) => data.ports[port].name).join(', '), 'ports');
    const total = reasons.reduce((sum, [, pairs]) => sum + pairs, 0);
    for (const [key, pairs] of reasons.slice(0, MOST_REASONS)) {
      const change = changeIn(key);
      const verdict = isAllowed(key.split('|').at(-1)) ? 'allowed' : 'denied';
      const of = reasons.length > 1 ? ` for ${pairs} of ${total} pairs` : '';
      add('div', `${change === 'same' ? verdict : CHANGES[change]}${of}`);
      const list = document.createElement('dl');
      for (const [world, part] of key.split('|').entries()) {
        if (isDiff && change === 'same' && world !== now) continue;
        const when = isDiff && change !== 'same' ? (world === now ? 'after: ' : 'before: ') : '';
        if (part === '') {
          term(list, `${when}`, 'it is not there');
          continue;
        }
        const [egress, ingress] = part.split(',');
        term(list, `${when}egress`, reasonText(data.verdicts[egress], 'source'));
        term(list, `${when}ingress`, reasonText(data.verdicts[ingress], 'destination'));
      }
      made.append(list);
    }
    const more = reasons.length - MOST_REASONS;
    if (more > 0) add('div', `and ${more} more: unfold namespaces, or choose a port, to see them`, 'hint');
    return made;
  }

  function term(list, name, text) {
    list.append(Object.assign(document.createElement('dt'), { textContent: name }));
    list.append(Object.assign(document.createElement('dd'), { textContent: text }));
  }

  function reasonText(verdict, end) {
    const { passedBy } = verdict;
    const text = decisionText(verdict, end);
    return passedBy ? `${text}; passed on by ${passedBy.join(', ')}` : text;
  }

  function decisionText({ kind, by, reason, passes }, end) {
    switch (kind) {
      case 'tier-rule':
        return `${passes ? 'accepted' : 'denied'} by ${by.join(', ')}`;
      case 'allowed':
        return `allowed by ${by.join(', ')}`;
      case 'denied':
        return `denied: isolated by ${by.join(', ')}, and no rule there allows this`;
      case 'not-isolated':
        return `open: no policy isolates the ${end}`;
      default:
        return reason === 'not-a-subject' ? `open: policies do not apply to the ${end}` : `open: ${reason}`;
    }
  }

  function describeNothing() {
    details.innerHTML = '<h2>Why</h2><p class="hint">Choose a cell to see which policies decide.</p>';
  }

  // ----------------------------------------------------------------------------------------------------------------- listening

  function listen() {
    const set = (part, key, read = (field) => field.value) =>
      $(part).addEventListener('input', (event) => {
        state[key] = read(event.target);
        scroller.scrollTo(0, 0);
        rebuild();
      });
    set('from', 'from');
    set('to', 'to');
    set('namespace', 'namespace');
    set('port', 'port', (field) => Number(field.value));
    set('changes', 'onlyChanges', (field) => field.checked);
    $('fold').addEventListener('click', () => foldAll(model.namespaces));
    $('unfold').addEventListener('click', () => foldAll([]));
    $('scheme').addEventListener('input', ({ target }) => {
      if (target.value === '') delete document.documentElement.dataset.scheme;
      else document.documentElement.dataset.scheme = target.value;
    });
    let waits = false;
    const redraw = () => {
      if (waits) return;
      waits = true;
      requestAnimationFrame(() => {
        waits = false;
        draw();
      });
    };
    scroller.addEventListener('scroll', redraw);
    new ResizeObserver(redraw).observe(scroller);
    grid.addEventListener('click', ({ target }) => {
      const cell = target.closest('[data-column]');
      if (!cell) return;
      if (cell.dataset.row === undefined) fold(axes.columns[cell.dataset.column]);
      else choose(Number(cell.dataset.row), Number(cell.dataset.column));
    });
    grid.addEventListener('keydown', pressed);
  }

  function foldAll(names) {
    state.folded = new Set(names);
    rebuild();
  }

  function fold({ namespace, title }) {
    if (namespace === '') return;
    if (!state.folded.delete(namespace)) state.folded.add(namespace);
    rebuild();
    status.textContent = `${title}: ${state.folded.has(namespace) ? 'folded' : 'unfolded'}; ${status.textContent}`;
  }

  function choose(row, column) {
    state.at = { row, column };
    if (column < 0) {
      fold(axes.rows[row]);
      focusCell();
      return;
    }
    state.chosen = { row: axes.rows[row].title, column: axes.columns[column].title };
    describe(axes.rows[row], axes.columns[column]);
    draw();
    focusCell();
  }

  function pressed(event) {
    const { rows, columns } = axes;
    if (rows.length === 0) return;
    const page = Math.max(1, Math.floor((scroller.clientHeight - size.head) / size.height) - 1);
    let { row, column } = state.at;
    switch (event.key) {
      case 'ArrowUp':
        row--;
        break;
      case 'ArrowDown':
        row++;
        break;
      case 'ArrowLeft':
        column--;
        break;
      case 'ArrowRight':
        column++;
        break;
      case 'PageUp':
        row -= page;
        break;
      case 'PageDown':
        row += page;
        break;
      case 'Home':
        column = -1;
        if (event.ctrlKey) row = 0;
        break;
      case 'End':
        column = columns.length - 1;
        if (event.ctrlKey) row = rows.length - 1;
        break;
      case 'Enter':
      case ' ':
        event.preventDefault();
        choose(row, column);
        return;
      default:
        return;
    }
    event.preventDefault();
    state.at = {
      row: Math.min(rows.length - 1, Math.max(0, row)),
      column: Math.min(columns.length - 1, Math.max(-1, column)),
    };
    scrollTo(state.at);
    draw();
    focusCell();
  }

  function scrollTo({ row, column }) {
    const top = row * size.height;
    const high = scroller.clientHeight - size.head - size.height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + high) scroller.scrollTop = top - high;
    if (column < 0) return;
    const left = column * size.width;
    const wide = scroller.clientWidth - size.names - size.width;
    if (left < scroller.scrollLeft) scroller.scrollLeft = left;
    else if (left > scroller.scrollLeft + wide) scroller.scrollLeft = left - wide;
  }

  function focusCell() {
    const { row, column } = state.at;
    grid.querySelector(`[data-row="${row}"][data-column="${column}"]`)?.focus({ preventScroll: true });
  }
};

/** Of one answer. */
const MOST_REASONS = 3;
const CHANGES = {
  'newly-allowed': 'newly allowed',
  'newly-denied': 'newly denied',
  both: 'partly newly allowed, partly newly denied',
};

/** What is asked of data often, in a form that answers quickly. */
function readModel(data) {
  const namespaces = [...new Set(data.groups.flatMap(({ namespace }) => (namespace === '' ? [] : [namespace])))];
  const dense = (count, flat) => {
    const rowOf = new Uint16Array(count);
    for (let at = 0; at < flat.length; at += 2) rowOf[flat[at]] = flat[at + 1];
    return rowOf;
  };
  // What is equal is one object.
  const programs = data.programs.map(({ rows, others }) => ({
    rows: rows.map((row) => data.rows[row]),
    rowOf: dense(data.families.length, others),
  }));
  const rowOf = (programOf, judged, other) => {
    const program = programs[programOf[judged]];
    return program && programOf[other] >= 0 ? program.rows[program.rowOf[other]] : undefined;
  };
  const differs = (direction, index) => new Set(data.worlds.map((world) => world[direction][index])).size > 1;
  return {
    namespaces,
    shown: data.shown,
    passes: data.verdicts.map(({ passes }) => passes),
    groups: data.groups.map((group) => ({
      ...group,
      search: [group.title, group.kind, ...group.members].join('\n').toLowerCase(),
      sendsAnew: group.parts.some(([index]) => differs('egress', index)),
      receivesAnew: group.parts.some(([index]) => differs('ingress', index)),
    })),
    rowsBetween(world, source, destination) {
      const egress = rowOf(data.worlds[world].egress, source, destination);
      const ingress = rowOf(data.worlds[world].ingress, destination, source);
      return egress && ingress && { egress, ingress };
    },
  };
}

const TEMPLATE = `
<div class="pm">
  <header>
    <h1 data-part="title"></h1><p class="summary" data-part="summary"></p>
    <span class="spread"></span>
    <select data-part="scheme" aria-label="Colours"><option value="">colours of the system</option><option value="light">light</option><option value="dark">dark</option></select>
  </header>
  <div class="tools" role="search" aria-label="What is shown">
    <label>From <input type="search" data-part="from" list="pm-known" placeholder="anybody" autocomplete="off" spellcheck="false"></label>
    <label>To <input type="search" data-part="to" list="pm-known" placeholder="anybody" autocomplete="off" spellcheck="false"></label>
    <datalist id="pm-known" data-part="known"></datalist>
    <label>Namespace <select data-part="namespace"><option value="">all</option></select></label>
    <label>Port <select data-part="port"><option value="-1">all</option></select></label>
    <label class="check" data-part="changes"><input type="checkbox"> only changes</label>
    <button type="button" data-part="fold">Fold namespaces</button>
    <button type="button" data-part="unfold">Unfold</button>
    <span class="spread"></span>
    <span class="legend" data-part="legend"></span>
  </div>
  <main class="scroller" data-part="scroller" tabindex="-1">
    <div class="grid" role="grid" aria-label="Rows send, columns receive" data-part="grid"></div>
  </main>
  <aside aria-label="Why" aria-live="polite" data-part="details" tabindex="0"></aside>
  <div class="aloud" role="status" data-part="status"></div>
</div>`;
const LEGEND =
  '<span><i></i>nothing</span><span><i class="ramp"></i>more ports and pods</span><span><i style="--share:100%"></i>everything</span><span><i class="nobody"></i>no policy is asked</span>';
const DIFF_LEGEND =
  '<span><i class="newly-allowed"></i>+ newly allowed</span><span><i class="newly-denied"></i>− newly denied</span><span><i style="--share:20%"></i>unchanged</span>';

const held = document.getElementById('portcullis-matrix-data');
if (held) globalThis.portcullisMatrix(document.getElementById('portcullis-matrix'), JSON.parse(held.textContent));
