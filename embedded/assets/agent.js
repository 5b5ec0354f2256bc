// Sends what the user typed to the agent and shows the words of the response as they arrive. Nothing is sent without a click.

const form = document.querySelector('#agent-form')
const input = document.querySelector('#agent-text')
const button = form.querySelector('button')
const log = document.querySelector('#agent-log')

form.addEventListener('submit', async (event) => {
  event.preventDefault()
  const text = input.value.trim()
  if (text === '') return
  button.disabled = true
  add('mine', text)
  input.value = ''
  try {
    await ask(text)
  } catch {
    add('trouble', 'The connection broke off. Try again.')
  }
  button.disabled = false
  input.focus()
})

async function ask(text) {
  const answer = await fetch('/api/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ stream: true, messages: [{ role: 'user', content: text }] }),
  })
  if (!answer.ok) {
    add('trouble', troubleWith(answer))
    return
  }
  const bubble = add('theirs', '')
  for await (const word of wordsOf(answer.body)) {
    bubble.append(word)
    log.scrollTop = log.scrollHeight
  }
}

/** The message for the user about a refused request. */
function troubleWith({ status, headers }) {
  if (status === 401) return 'Your session has ended. Reload the page to sign in again.'
  if (status !== 429) return `The agent does not answer right now (${status}).`
  const seconds = Number(headers.get('retry-after')) || 60
  const wait = seconds === 1 ? '1 second' : `${seconds} seconds`
  return `That was a lot of requests for one minute. You can go on in ${wait}.`
}

/** The words in an OpenAI event stream. */
async function* wordsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const events = (rest + value).split('\n\n')
    rest = events.pop()
    for (const event of events) {
      const data = event.replace(/^data: /, '')
      // Read to the end after the last word, because stopping earlier would abort the request.
      if (data !== '[DONE]') yield JSON.parse(data).choices[0].delta.content ?? ''
    }
  }
}

function add(kind, text) {
  log.querySelector('.empty')?.remove()
  const line = document.createElement('p')
  line.className = kind
  line.textContent = text
  log.append(line)
  log.scrollTop = log.scrollHeight
  return line
}

// This makes the file a module, so that its names are not global.
export {}
