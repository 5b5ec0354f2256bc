// Keeps the machine's figures up to date: it requests /health every two seconds while the page is visible.

const EVERY_MS = 2000
const SAMPLES = 60
const FULL_PERCENT = 90

const element = (id) => document.querySelector(`#${id}`)
const live = element('live')
const history = []

async function refresh() {
  try {
    const answer = await fetch('/health', { cache: 'no-store', signal: AbortSignal.timeout(5000) })
    const stats = await answer.json()
    if (stats.status !== 'ok') throw new Error('no figures')
    show(stats)
  } catch {
    say('bad', 'The machine does not tell how it is. Trying again…')
  }
}

function show({ hostname, cpu, load, memory, disk, uptimeSeconds, processes, node }) {
  say('good', `Live from ${hostname}, Node.js ${node}`)
  const busy = Math.round(cpu.utilisationPercent)
  setFigure('cpu', `${busy}`, ' %')
  const processors = cpu.count === 1 ? '1 processor' : `${cpu.count} processors`
  setText('cpu-note', `${processors}, load ${load.one.toFixed(2)}`)
  draw(busy)
  showShare('memory', memory)
  if (disk !== null) showShare('disk', disk)
  setText('uptime', duration(uptimeSeconds))
  if (processes !== null) setText('processes', `${processes} processes`)
}

function showShare(id, { usedBytes, totalBytes, freeBytes }) {
  const percent = Math.round((100 * usedBytes) / totalBytes)
  setFigure(id, gibibytes(usedBytes), ` of ${gibibytes(totalBytes)} GiB`)
  setText(`${id}-note`, `${percent} % used, ${gibibytes(freeBytes)} GiB free`)
  const bar = element(`${id}-bar`)
  bar.style.setProperty('--share', percent)
  bar.setAttribute('aria-valuenow', percent)
  bar.toggleAttribute('data-full', percent >= FULL_PERCENT)
}

/** Draws the utilisation of the processors in the last two minutes, the newest value at the right. */
function draw(percent) {
  history.push(percent)
  if (history.length > SAMPLES) history.shift()
  const step = 100 / (SAMPLES - 1)
  const first = 100 - (history.length - 1) * step
  const points = history.map((value, index) => `${first + index * step},${29 - value * 0.28}`)
  const chart = element('cpu-chart')
  chart.querySelector('polyline').setAttribute('points', points.join(' '))
  chart.querySelector('path').setAttribute('d', `M${first},30 L${points.join(' L')} L100,30 Z`)
}

function say(state, text) {
  live.dataset.state = state
  // Set the text only when it changes, because a screen reader reads it aloud each time.
  if (live.textContent !== text) live.textContent = text
}

function setText(id, text) {
  element(id).textContent = text
}

function setFigure(id, figure, unit) {
  const small = document.createElement('small')
  small.textContent = unit
  element(id).replaceChildren(figure, small)
}

function gibibytes(bytes) {
  const value = bytes / 1024 ** 3
  return value.toFixed(value < 100 ? 1 : 0)
}

function duration(seconds) {
  const days = Math.floor(seconds / 86_400)
  const hours = Math.floor((seconds % 86_400) / 3600)
  const minutes = Math.floor((seconds % 3600) / 60)
  if (days > 0) return `${days} d ${hours} h`
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min`
}

setInterval(() => {
  if (!document.hidden) void refresh()
}, EVERY_MS)
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void refresh()
})
void refresh()

// This makes the file a module, so that its names are not global.
export {}
