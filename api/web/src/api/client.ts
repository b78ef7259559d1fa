/** Requests to the API, typed by the OpenAPI document. The session is a cookie that scripts cannot see. */
import { ApiError, asApiError, fromResponse } from './problem'
import type { paths } from './schema'

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete'
type PathsWith<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, object> ? P : never
}[keyof paths]

type Operation<P extends keyof paths, M extends Method> = paths[P] extends Record<M, infer O> ? O : never
type Json<T> = T extends { content: { 'application/json': infer B } } ? B : undefined
type Body<O> = O extends { requestBody: infer B } ? Json<B> : undefined
type Answer<O> = O extends { responses: infer R }
  ? { [S in keyof R]: S extends 200 | 201 | 202 | 204 ? Json<R[S]> : never }[keyof R]
  : never

export interface Call<B> {
  path?: Record<string, string>
  query?: Record<string, string | number | boolean | null | undefined>
  body?: B
  headers?: Record<string, string>
  signal?: AbortSignal
}

let signedOut: () => void = () => undefined

/** Sets what is to happen when the API says that nobody is signed in. */
export function onSignedOut(handler: () => void): void {
  signedOut = handler
}

export function address(path: string, call: Call<unknown> = {}): string {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = call.path?.[name]
    if (value === undefined) throw new Error(`${path} lacks ${name}`)
    return encodeURIComponent(value)
  })
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(call.query ?? {})) {
    if (value !== null && value !== undefined && value !== '') query.set(name, String(value))
  }
  const text = query.toString()
  return text ? `${filled}?${text}` : filled
}

async function send(method: Method, path: string, call: Call<unknown>): Promise<unknown> {
  const init: RequestInit = {
    method: method.toUpperCase(),
    credentials: 'same-origin',
    headers: { Accept: 'application/json', ...call.headers },
  }
  if (call.signal) init.signal = call.signal
  if (call.body !== undefined) {
    init.body = JSON.stringify(call.body)
    init.headers = { ...init.headers, 'Content-Type': 'application/json' }
  }
  let response: Response
  try {
    response = await fetch(address(path, call), init)
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    throw asApiError(error)
  }
  if (!response.ok) {
    const error = await fromResponse(response)
    if (error.status === 401 && !path.endsWith('/auth/login')) signedOut()
    throw error
  }
  if (response.status === 204) return undefined
  try {
    return await response.json()
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error
    // The rest of the answer never came.
    if (error instanceof DOMException && error.name === 'TimeoutError') throw asApiError(error)
    throw new ApiError(response.status, null, 'the answer is not JSON')
  }
}

export const api = {
  get<P extends PathsWith<'get'>>(path: P, call: Call<undefined> = {}) {
    return send('get', path, call) as Promise<Answer<Operation<P, 'get'>>>
  },
  post<P extends PathsWith<'post'>>(path: P, call: Call<Body<Operation<P, 'post'>>> = {}) {
    return send('post', path, call) as Promise<Answer<Operation<P, 'post'>>>
  },
  put<P extends PathsWith<'put'>>(path: P, call: Call<Body<Operation<P, 'put'>>> = {}) {
    return send('put', path, call) as Promise<Answer<Operation<P, 'put'>>>
  },
  patch<P extends PathsWith<'patch'>>(path: P, call: Call<Body<Operation<P, 'patch'>>> = {}) {
    return send('patch', path, call) as Promise<Answer<Operation<P, 'patch'>>>
  },
  delete<P extends PathsWith<'delete'>>(path: P, call: Call<undefined> = {}) {
    return send('delete', path, call) as Promise<Answer<Operation<P, 'delete'>>>
  },
}
