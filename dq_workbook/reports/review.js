// One question at a time, one key an answer. Cards come ahead of time, so that a key shows the next at once.
const AHEAD = 8, BEHIND = 30;
const KEYS = {k: 'keep', r: 'relabel', d: 'drop', u: 'unsure', b: 'back'};

function make(kind, parent, text = '') {
  const made = document.createElement(kind);
  made.textContent = text; // text everywhere: names may hold markup
  parent.append(made);
  return made;
}

function draw(card, el) { // the pictures of a card, which are decoded already
  el.replaceChildren();
  for (const picture of card.pictures) {
    const figure = make('figure', el);
    if (picture.role) figure.className = picture.role;
    figure.append(picture.img);
    make('figcaption', figure, picture.caption);
  }
}

function receive(message, buffers) { // a card with its pictures as elements
  const card = message.card;
  card.pictures.forEach((picture, place) => {
    const img = picture.img = new Image();
    img.alt = picture.caption;
    img.onload = () => img.classList.toggle('tiny', img.naturalWidth <= 64);
    img.src = URL.createObjectURL(new Blob([buffers[place]], {type: 'image/jpeg'}));
    img.decode().catch(() => {});
  });
  return card;
}

function takeFocus(el, signal) { // JupyterLab moves its focus to the next cell just after this one has run
  const focus = () => { if (el.isConnected && !el.contains(document.activeElement)) el.focus(); };
  for (const wait of [0, 50, 150, 400, 800]) setTimeout(focus, wait);
  el.addEventListener('pointerenter', focus, {signal});
}

function render({model, el}) {
  const cards = new Map(), asked = new Set(), stop = new AbortController();
  const total = model.get('total');
  let place = model.get('place');
  el.tabIndex = 0;
  el.classList.add('dq-review');
  el.dataset.lmSuppressShortcuts = 'true'; // or JupyterLab takes the keys for its own
  el.setAttribute('role', 'group');
  el.setAttribute('aria-label', 'review: keys k keep, r relabel, d drop, u unsure, b back');
  const question = make('h3', el), pictures = make('div', el), buttons = make('div', el);
  const told = make('p', el, model.get('told'));
  question.setAttribute('aria-live', 'polite');
  pictures.className = 'pictures';
  const button = Object.fromEntries(Object.entries(KEYS).map(([key, said]) => {
    const made = make('button', buttons, said);
    make('kbd', made, key);
    made.onclick = () => { answer(said); el.focus(); };
    return [said, made];
  }));

  function ask() {
    const wanted = [];
    for (let next = place; next < Math.min(place + AHEAD, total); next++)
      if (!asked.has(next)) { asked.add(next); wanted.push(next); }
    if (wanted.length) model.send({ask: wanted});
    for (const old of cards.keys()) if (Math.abs(old - place) > BEHIND) {
      for (const picture of cards.get(old).pictures) URL.revokeObjectURL(picture.img.src);
      cards.delete(old); asked.delete(old);
    }
  }

  function show() {
    const card = cards.get(place);
    el.dataset.place = place;
    for (const [said, made] of Object.entries(button)) {
      made.disabled = said === 'back' ? place === 0 : !card?.choices.includes(said);
      made.classList.toggle('said', card?.said === said);
    }
    if (place >= total) { question.textContent = model.get('done'); return pictures.replaceChildren(); }
    question.textContent = card ? card.question : 'One moment …';
    if (card) draw(card, pictures); else pictures.replaceChildren();
  }

  function answer(said) {
    const card = cards.get(place);
    if (button[said].disabled) return;
    if (said === 'back') place -= 1;
    else { card.said = said; model.send({place, said}); place += 1; }
    show(); ask();
  }

  el.addEventListener('keydown', event => {
    const said = KEYS[event.key.toLowerCase()];
    if (event.ctrlKey || event.metaKey || event.altKey || !said) return;
    event.preventDefault(); event.stopPropagation(); answer(said);
  }, {signal: stop.signal});
  const hear = (message, buffers) => {
    if (message.go !== undefined) { place = message.go; show(); ask(); }
    if (!message.card) return;
    cards.set(message.card.place, receive(message, buffers));
    if (message.card.place === place) show();
  };
  const tell = () => { told.textContent = model.get('told'); };
  model.on('msg:custom', hear);
  model.on('change:told', tell);
  show(); ask(); takeFocus(el, stop.signal);
  return () => { stop.abort(); model.off('msg:custom', hear); model.off('change:told', tell); };
}

export default {render};
