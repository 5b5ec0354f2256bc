import { passed } from '../gates'

/** An event stream whose second event is sent when the gate is opened. */
export async function GET(request: Request) {
  const gate = new URL(request.url).searchParams.get('gate') ?? ''
  const encoder = new TextEncoder()
  const stream = new ReadableStream({
    async start(controller) {
      controller.enqueue(encoder.encode('data: first\n\n'))
      await passed(gate)
      controller.enqueue(encoder.encode('data: second\n\n'))
      controller.close()
    },
  })
  return new Response(stream, { headers: { 'Content-Type': 'text/event-stream' } })
}
