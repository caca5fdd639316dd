// Points on a canvas; the nearest one shows its picture, and a click asks the review for it.
const SIDE = 560, REACH = 12; // pixels: of the canvas, and from a point

function make(kind, parent, text = '') {
  const made = document.createElement(kind);
  made.textContent = text;
  parent.append(made);
  return made;
}

function paint(context, points, hidden, marked) {
  const {x, y, group, colors, size} = points;
  context.clearRect(0, 0, SIDE, SIDE);
  for (let g = 0; g < colors.length; g++) { // group by group: what isn't flagged lies below
    if (hidden.has(g)) continue;
    context.fillStyle = colors[g];
    for (let i = 0; i < x.length; i++) if (group[i] === g) {
      context.beginPath(); context.arc(x[i] * SIDE, y[i] * SIDE, size, 0, 7); context.fill();
    }
  }
  if (marked < 0) return;
  context.strokeStyle = colors[group[marked]]; context.lineWidth = 2;
  context.beginPath(); context.arc(x[marked] * SIDE, y[marked] * SIDE, size + 4, 0, 7); context.stroke();
}

function nearest(points, hidden, px, py) {
  let best = -1, least = REACH * REACH;
  for (let i = 0; i < points.x.length; i++) {
    const d = (points.x[i] * SIDE - px) ** 2 + (points.y[i] * SIDE - py) ** 2;
    if (d < least && !hidden.has(points.group[i])) { least = d; best = i; }
  }
  return best;
}

function render({model, el}) {
  const floats = name => new Float32Array(model.get(name).buffer.slice(0));
  const points = {x: floats('x'), y: floats('y'), colors: model.get('colors'),
                  group: new Uint16Array(model.get('group').buffer.slice(0))};
  points.size = points.x.length > 3000 ? 2 : 3.5;
  const hidden = new Set(), shown = new Map();
  let at = -1;
  el.classList.add('dq-map');
  const canvas = make('canvas', el), side = make('div', el);
  canvas.width = canvas.height = SIDE;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', model.get('about'));
  const picture = make('figure', side), img = make('img', picture), words = make('figcaption', picture);
  words.textContent = 'Point at a picture; a click shows it in the review.';
  img.alt = ''; img.hidden = true;
  const draw = () => paint(canvas.getContext('2d'), points, hidden, at);
  model.get('names').forEach((name, g) => {
    const label = make('label', side), box = make('input', label), dot = make('span', label);
    box.type = 'checkbox'; box.checked = true; dot.style.background = points.colors[g];
    label.append(`${name}: ${points.group.reduce((n, own) => n + (own === g), 0)}`);
    box.onchange = () => { box.checked ? hidden.delete(g) : hidden.add(g); draw(); };
  });
  const show = () => {
    const got = shown.get(at);
    if (got) { img.src = got.url; img.alt = words.textContent = got.caption; img.hidden = false; }
  };
  const find = event => {
    const box = canvas.getBoundingClientRect(), scale = SIDE / box.width;
    return nearest(points, hidden, (event.clientX - box.left) * scale, (event.clientY - box.top) * scale);
  };
  canvas.onpointermove = event => {
    const found = find(event);
    if (found === at || found < 0) return;
    at = found; draw(); show();
    if (!shown.has(at)) { shown.set(at, null); model.send({ask: at}); }
  };
  canvas.onclick = event => { const found = find(event); if (found >= 0) model.send({click: found}); };
  model.on('msg:custom', (message, buffers) => {
    const url = URL.createObjectURL(new Blob([buffers[0]], {type: 'image/jpeg'}));
    shown.set(message.point, {url, caption: message.caption});
    show();
  });
  draw();
}

export default {render};
