import { headers } from 'next/headers'

/** Made for every request: who asks, as the proxy in front says it. */
export default async function Now() {
  const fields = await headers()
  return (
    <>
      <h1>now</h1>
      <p id="who">
        {fields.get('x-forwarded-user')} at {fields.get('x-workspace')}
      </p>
    </>
  )
}
