import { open } from '../gates'

export async function POST(request: Request) {
  open(new URL(request.url).searchParams.get('name') ?? '')
  return new Response(null, { status: 204 })
}
