import type { components } from './schema'

export type Problem = components['schemas']['Problem']
export type FieldFault = components['schemas']['FieldError']

/** What the API refused, or what kept a request from reaching it. */
export class ApiError extends Error {
  constructor(
    /** 0: there was no answer. */
    readonly status: number,
    readonly problem: Problem | null,
    message: string,
  ) {
    super(message)
    this.name = 'ApiError'
  }

  /** Faults by field; empty when the problem is not one of fields. */
  get faults(): FieldFault[] {
    return this.problem?.errors ?? []
  }

  get requestId(): string | null {
    return this.problem?.request_id ?? null
  }

  get unreachable(): boolean {
    return this.status === 0
  }
}

export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error
  return new ApiError(0, null, error instanceof Error ? error.message : String(error))
}

/** Reads an answer that is not a success. */
export async function fromResponse(response: Response): Promise<ApiError> {
  const type = response.headers.get('content-type') ?? ''
  if (type.includes('json')) {
    const problem = (await response.json().catch(() => null)) as Problem | null
    if (problem && typeof problem.detail === 'string') {
      return new ApiError(response.status, problem, problem.detail)
    }
  }
  return new ApiError(response.status, null, `${response.status} ${response.statusText}`.trim())
}
