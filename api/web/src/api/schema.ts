// Made by `npm run types` from the OpenAPI document. Do not edit.

export interface paths {
    "/api/v1/audit": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Read the audit log
         * @description Every sign-in, change and task, and every refusal; newest first. Of more than 60 refusals of one
         *     party in a minute, the rest is only counted.
         */
        get: {
            parameters: {
                query?: {
                    /** @description Of this kind; with a dot at the end, of all that begin so, like `task.`. */
                    action?: string;
                    /** @description On this cluster. */
                    cluster?: string;
                    /** @description `next_cursor` of the page before */
                    cursor?: number;
                    /** @description Entries a page, 1 to 1000; 100 when left out */
                    limit?: number;
                    /** @description Of this request. */
                    request_id?: string;
                    /** @description `done`, `refused` or `failed`. */
                    result?: string;
                    /** @description Not before (RFC 3339). */
                    since?: string;
                    /** @description About this. */
                    target?: string;
                    /** @description Before (RFC 3339). */
                    until?: string;
                    /** @description Of the user of this name. */
                    user?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AuditPage"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/audit/export": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Export the audit log
         * @description All entries that the filters let through, newest first, as a file. In CSV, cells that a spreadsheet
         *     would run begin with an apostrophe. A file that breaks off is not whole: the connection ends before
         *     its last chunk.
         */
        get: {
            parameters: {
                query?: {
                    /** @description Of this kind; with a dot at the end, of all that begin so, like `task.`. */
                    action?: string;
                    /** @description On this cluster. */
                    cluster?: string;
                    /** @description `csv` (when left out) or `jsonl` */
                    format?: string;
                    /** @description Of this request. */
                    request_id?: string;
                    /** @description `done`, `refused` or `failed`. */
                    result?: string;
                    /** @description Not before (RFC 3339). */
                    since?: string;
                    /** @description About this. */
                    target?: string;
                    /** @description Before (RFC 3339). */
                    until?: string;
                    /** @description Of the user of this name. */
                    user?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description One entry a line */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/jsonl": components["schemas"]["AuditEntry"];
                        "text/csv": string;
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                503: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/login": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sign in
         * @description Starts a session. The answer sets the cookie `knm_session`. Failed attempts make the next one
         *     wait, by account and address.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["LoginRequest"];
                };
            };
            responses: {
                200: {
                    headers: {
                        "Set-Cookie"?: string;
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["LoginResponse"];
                    };
                };
                401: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                429: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/logout": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Sign out
         * @description Ends the session, or the personal token, that the request was made with: everywhere and at once.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                204: {
                    headers: {
                        "Set-Cookie"?: string;
                        [name: string]: unknown;
                    };
                    content?: never;
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/me": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Who am I */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["UserView"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Change one's own password
         * @description Ends one's other sessions, and if that is asked for one's tokens. Only a session that began with a password can do it. Wrong guesses make
         *     the next one wait, as when signing in.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["PasswordChange"];
                };
            };
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                429: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/sessions": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List sessions
         * @description One's own; tokens are not among them, and cannot list them.
         */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["SessionList"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/sessions/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * End a session
         * @description One of one's own, at once and everywhere: open WebSockets that use it are closed. A personal token
         *     cannot.
         */
        delete: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The session's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/tokens": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List personal tokens
         * @description Only in a session that began with a password.
         */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TokenList"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        /**
         * Make a personal token
         * @description For programs. Only a session that began with a password can make one.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["TokenRequest"];
                };
            };
            responses: {
                201: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TokenCreated"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/auth/tokens/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /**
         * Revoke a personal token
         * @description At once, everywhere: open WebSockets that use it are closed. A token can revoke itself, but no other.
         */
        delete: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The token's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/clusters": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List clusters
         * @description Those that the caller may read.
         */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ClusterList"];
                    };
                };
            };
        };
        put?: never;
        /**
         * Add a cluster
         * @description Every replica watches it within seconds. Needs `KNM_ENCRYPTION_KEY`.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["NewCluster"];
                };
            };
            responses: {
                201: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["StoredCluster"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/clusters/{cluster}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Look at a cluster */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ClusterView"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        /**
         * Change how a cluster is reached
         * @description Tasks that run there go on with it.
         */
        put: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["ClusterAccess"];
                };
            };
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["StoredCluster"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        post?: never;
        /**
         * Remove a cluster
         * @description Refused while tasks on it have not ended. Its history stays.
         */
        delete: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/clusters/{cluster}/nodes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List nodes
         * @description From memory, as of the last event of a watch.
         */
        get: {
            parameters: {
                query?: {
                    /** @description `continue` of the page before */
                    continue?: string;
                    /** @description As `kubectl get nodes --field-selector` takes it */
                    field_selector?: string;
                    /** @description As `kubectl get nodes -l` takes it */
                    label_selector?: string;
                    /** @description Nodes a page, 1 to 10000; 500 when left out */
                    limit?: number;
                    /** @description Part of a name, role, address, label or taint, in any case */
                    q?: string;
                    /** @description `name` (when left out), `status`, `version`, `created` or `ip`; with a `-` in front for the opposite order */
                    sort?: string;
                    /** @description A word of the node's status */
                    status?: components["schemas"]["StatusWord"];
                };
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["NodePage"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                503: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/clusters/{cluster}/nodes/{node}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Look at a node
         * @description From memory; its pods from the cluster, when they are asked for.
         */
        get: {
            parameters: {
                query?: {
                    /** @description Whether its pods are shown, too */
                    pods?: boolean;
                };
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                    /** @description The node's name */
                    node: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["NodeDetail"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                503: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/clusters/{cluster}/nodes/events": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Follow nodes
         * @description Server-sent events: `snapshot` with all nodes in parts, then `upsert` and `delete`, one node each; a
         *     comment and an empty `ping` when nothing has come for 20 s. A new list begins with a `snapshot` whose
         *     `first` is true. The stream ends when the cluster is removed or given another kubeconfig.
         */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The cluster's name */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "text/event-stream": components["schemas"]["SnapshotEvent"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                429: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                503: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/freezes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List freezes */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["FreezeList"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/freezes/{cluster}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        /**
         * Freeze a cluster
         * @description Or all of them, as `*`: running tasks pause within a second, nodes in progress end, and no task is
         *     claimed. Tasks may be submitted and cancelled meanwhile. A freeze that is there already gets the new
         *     reason.
         */
        put: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The cluster's name, or `*` for all */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["FreezeRequest"];
                };
            };
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["FreezeView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        post?: never;
        /**
         * Lift a freeze
         * @description Tasks that it has paused go on by themselves; those that were paused by hand stay so.
         */
        delete: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description As it was frozen */
                    cluster: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/meta": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This installation */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["MetaView"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description OpenAPI 3.1 */
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": unknown;
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/progress/ws": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Watch progress live
         * @description A WebSocket, passed on to the relay in the same pod. Behind an Ingress that splits the path, the
         *     relay answers by itself.
         */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                /** @description The connection is a WebSocket now */
                101: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                426: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                502: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List tasks
         * @description Newest first.
         */
        get: {
            parameters: {
                query?: {
                    /** @description Only tasks with this action. */
                    action?: string;
                    /** @description Only tasks on this cluster. */
                    cluster?: string;
                    /** @description `next_cursor` of the page before. */
                    cursor?: string;
                    /** @description Tasks a page, 1 to 200. */
                    limit?: number;
                    /** @description Only tasks of the caller. */
                    mine?: boolean;
                    /** @description Only tasks in this state. */
                    status?: string;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskPage"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        /**
         * Submit a task
         * @description Checks it, freezes its target nodes and stores it; some replica carries it out. The same
         *     `Idempotency-Key` with the same body gives the task of the first time.
         */
        post: {
            parameters: {
                query?: never;
                header?: {
                    /** @description Makes a repeat harmless */
                    "Idempotency-Key"?: string | null;
                };
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["Submission"];
                };
            };
            responses: {
                202: {
                    headers: {
                        Location?: string;
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Look at a task */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/cancel": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Cancel a task
         * @description Nodes in progress end, the rest is never started. Final.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                202: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/items": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Look at a task's nodes
         * @description By (seq, ordinal): `after_seq` gives what has changed since, each node once, in its latest state.
         */
        get: {
            parameters: {
                query?: {
                    /** @description Only items that changed after this sequence number. */
                    after_seq?: number;
                    /** @description `next_cursor` of the page before. */
                    cursor?: string;
                    /** @description Items a page, 1 to 1000. */
                    limit?: number;
                    /** @description Only items in this state. */
                    status?: string;
                };
                header?: never;
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["ItemPage"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/pause": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Pause a task
         * @description Nodes in progress end, no other is started until the task is resumed.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                202: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/resume": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Resume a task */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                202: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/retry": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Retry a task
         * @description A new task with the nodes that have failed or were cancelled. While there is such a task under way,
         *     that one. Needs the right of the original action.
         */
        post: {
            parameters: {
                query?: never;
                header?: {
                    /** @description Makes a repeat harmless */
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                202: {
                    headers: {
                        Location?: string;
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/{id}/revert": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Revert a task
         * @description A new task that gives back what the task has changed, key by key, on the nodes where that still
         *     stands; others are skipped and say why. While there is such a task under way, that one. Needs the
         *     right of the original action.
         */
        post: {
            parameters: {
                query?: never;
                header?: {
                    /** @description Makes a repeat harmless */
                    "Idempotency-Key"?: string | null;
                };
                path: {
                    /** @description The task's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                202: {
                    headers: {
                        Location?: string;
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["TaskView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/tasks/preview": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Preview a task
         * @description What the same body would do if it was submitted: for each node what would change, what is so
         *     already and what would be refused; for drains and NoExecute taints the pods, and the disruption
         *     budgets in their way; and which rights this system lacks in the cluster. Nothing is stored or
         *     changed. Nodes are looked at in memory.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["Submission"];
                };
            };
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["PreviewView"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                503: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** List accounts */
        get: {
            parameters: {
                query?: {
                    /** @description `next_cursor` of the page before */
                    cursor?: string;
                    /** @description Accounts a page, 1 to 1000; 200 when left out */
                    limit?: number;
                };
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AccountList"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        /**
         * Make an account
         * @description Only in a session that began with a password: a token does not make itself a user that outlives it.
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path?: never;
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["AccountRequest"];
                };
            };
            responses: {
                201: {
                    headers: {
                        Location?: string;
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AccountView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/v1/users/{id}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Look at an account */
        get: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The user's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody?: never;
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AccountView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        /**
         * Change an account
         * @description Only in a session that began with a password. Another role or other clusters end the user's sessions, not their tokens, which never may more than
         *     their owner. The last administrator cannot be demoted or closed.
         */
        patch: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The user's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["AccountChange"];
                };
            };
            responses: {
                200: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/json": components["schemas"]["AccountView"];
                    };
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                409: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        trace?: never;
    };
    "/api/v1/users/{id}/password": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Reset a password
         * @description Only in a session that began with a password. Ends all sessions and tokens of the user. Somebody else's: one's own takes the password that one has
         *     (`/api/v1/auth/password`).
         */
        post: {
            parameters: {
                query?: never;
                header?: never;
                path: {
                    /** @description The user's id */
                    id: string;
                };
                cookie?: never;
            };
            requestBody: {
                content: {
                    "application/json": components["schemas"]["PasswordReset"];
                };
            };
            responses: {
                204: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content?: never;
                };
                403: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                404: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
                422: {
                    headers: {
                        [name: string]: unknown;
                    };
                    content: {
                        "application/problem+json": components["schemas"]["Problem"];
                    };
                };
            };
        };
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description What is to be changed; what is left out stays as it is. */
        AccountChange: {
            /** @description The clusters; null: every one. */
            clusters?: {
                [key: string]: components["schemas"]["RoleName"];
            } | null;
            /**
             * @description Whether the account is closed. Closing it ends the user's sessions and tokens at once,
             *     everywhere, and pauses their tasks.
             */
            disabled?: boolean | null;
            role?: components["schemas"]["RoleName"] | null;
        };
        /** @description A page of accounts. */
        AccountList: {
            /** @description Pass as `cursor` for the next page; absent on the last. */
            next_cursor?: string | null;
            /** @description By name. */
            users: components["schemas"]["AccountView"][];
        };
        /** @description An account to be made. */
        AccountRequest: {
            /**
             * @description Binds the user to clusters, each with a role; others do not exist for the user. Null or left
             *     out: every cluster, with `role`.
             */
            clusters?: {
                [key: string]: components["schemas"]["RoleName"];
            } | null;
            /**
             * Format: password
             * @description At least 8 characters.
             */
            password: string;
            /** @description What the user may do. */
            role: components["schemas"]["RoleName"];
            /**
             * @description 1 to 64 characters without spaces; case does not matter.
             * @example jane
             */
            username: string;
        };
        /** @description An account. */
        AccountView: {
            /**
             * @description The clusters that exist for the user, each with what they may do there; null: every one, with
             *     `role`.
             */
            clusters?: {
                [key: string]: components["schemas"]["RoleName"];
            } | null;
            /**
             * Format: date-time
             * @description When it was made.
             */
            created_at: string;
            /** @description Whether it is closed. */
            disabled: boolean;
            /**
             * Format: date-time
             * @description When it was closed.
             */
            disabled_at?: string | null;
            /**
             * Format: uuid
             * @description Identifier.
             */
            id: string;
            /** @description What the user may do in the installation as a whole. */
            role: components["schemas"]["RoleName"];
            /**
             * @description The name to sign in with.
             * @example jane
             */
            username: string;
        };
        /** @description An address of a node. */
        AddressView: {
            /** @description The address. */
            address: string;
            /** @description `InternalIP`, `Hostname`, … */
            type: string;
        };
        /** @description A number, or a percentage like `"25%"`. */
        Amount: number | string;
        /** @description Somebody did, or tried to do, something. */
        AuditEntry: {
            /**
             * @description What: `session.create`, `task.submit`, `user.change`, …; `request` for a refusal of what only
             *     looks.
             * @example task.submit
             */
            action: string;
            /**
             * @description From where; `local` for the command line.
             * @example 192.0.2.7
             */
            address: string;
            /** @description How it is, or what was asked for. */
            after?: Record<string, never> | null;
            /**
             * Format: date-time
             * @description When.
             */
            at: string;
            /** @description How it was. */
            before?: Record<string, never> | null;
            /** @description On which cluster. */
            cluster: string;
            /** @description Why not. */
            detail: string;
            /**
             * Format: int64
             * @description Rising, with gaps.
             */
            id: number;
            /** @description Under which the processes' logs have more. */
            request_id: string;
            /**
             * @description `done`, `refused` or `failed`.
             * @example done
             */
            result: string;
            /**
             * Format: uuid
             * @description The session or token that was used.
             */
            session_id?: string | null;
            /**
             * Format: int32
             * @description The HTTP status; 0 for the command line.
             */
            status: number;
            /** @description To what: a task's, token's or session's id, a user's name, or the path of a refused request. */
            target: string;
            /**
             * Format: uuid
             * @description Who; null where nobody was signed in.
             */
            user_id?: string | null;
            /**
             * @description Their name at that time; of a sign-in that failed, as it was given.
             * @example jane
             */
            username: string;
        };
        /** @description A page of entries. */
        AuditPage: {
            /** @description Newest first. */
            entries: components["schemas"]["AuditEntry"][];
            /**
             * Format: int64
             * @description Pass as `cursor` for the next page; absent on the last.
             */
            next_cursor?: number | null;
        };
        /** @description A disruption budget of pods that would go. */
        BudgetPreview: {
            /** @description `namespace/name` */
            budget: string;
            /**
             * Format: int32
             * @description Healthy pods that it asks for.
             */
            desired: number;
            /**
             * Format: int32
             * @description Evictions that it would allow now; a drain waits where it allows none.
             */
            disruptions_allowed: number;
            /**
             * Format: int32
             * @description Healthy pods that it has.
             */
            healthy: number;
            /** @description Pods of this task that it covers. */
            pods: number;
        };
        /** @description How a cluster is reached. */
        ClusterAccess: {
            /** @description The context to use; its current one without. */
            context?: string | null;
            /**
             * @description A kubeconfig (YAML or JSON) with its credentials in it: one that would run a program or read a
             *     file is refused. Stored encrypted, never shown.
             */
            kubeconfig: string;
        };
        /** @description Every cluster. */
        ClusterList: {
            /** @description By name. */
            clusters: components["schemas"]["ClusterView"][];
        };
        /** @description A cluster, as the replica that answers sees it. */
        ClusterView: {
            /**
             * @description Whether this replica's tasks leave it alone for a moment, because it answered several times in a
             *     row that it is overloaded, or not at all.
             */
            backing_off: boolean;
            /** @description Whether requests that name no cluster mean this one. */
            default: boolean;
            /** @description Why it is not, or what keeps the cluster from being used. */
            error?: string | null;
            /** @description Why no task goes on there; both that of the cluster and that of all clusters. */
            freezes: components["schemas"]["FreezeView"][];
            /**
             * @description Its name.
             * @example default
             */
            name: string;
            /** @description How many nodes it has. */
            nodes: number;
            /** @description Whether the API server answers; absent before it was asked. */
            reachable?: boolean | null;
            /** @description The API server. */
            server?: string | null;
            /** @description Where it is written down. */
            source: components["schemas"]["SourceName"];
            /** @description Whether what is known of its nodes is current. */
            state: components["schemas"]["SyncName"];
            /** @description Kubernetes' version, if known. */
            version?: string | null;
        };
        /** @description A condition of a node. */
        ConditionView: {
            /** @description In a sentence. */
            message?: string | null;
            /** @description In a word. */
            reason?: string | null;
            /**
             * Format: date-time
             * @description Since when.
             */
            since?: string | null;
            /** @description `True`, `False` or `Unknown`. */
            status: string;
            /** @description `Ready`, `MemoryPressure`, … */
            type: string;
        };
        /** @description How many items are in each state. */
        CountsView: {
            /**
             * Format: int32
             * @description Never started because the task ended first.
             */
            cancelled: number;
            /**
             * Format: int32
             * @description Not done.
             */
            failed: number;
            /**
             * Format: int32
             * @description Not started.
             */
            pending: number;
            /**
             * Format: int32
             * @description In progress.
             */
            running: number;
            /**
             * Format: int32
             * @description Deliberately left alone.
             */
            skipped: number;
            /**
             * Format: int32
             * @description Done, or already as wanted.
             */
            succeeded: number;
            /**
             * Format: int32
             * @description All items.
             */
            total: number;
        };
        /** @description Parameters of `drain`, those of `kubectl drain`. */
        DrainParams: {
            /**
             * @description Whether pods with emptyDir volumes may go, with their data.
             * @default false
             */
            delete_emptydir_data: boolean;
            /**
             * @description Deletes pods instead of evicting them: no disruption budget is asked.
             * @default false
             */
            disable_eviction: boolean;
            /**
             * @description Whether pods that nothing would start again may go.
             * @default false
             */
            force: boolean;
            /**
             * Format: int64
             * @description Seconds that each pod has to end; its own setting when left out or negative.
             * @default null
             */
            grace_period_seconds: number | null;
            /**
             * @description Whether pods of DaemonSets may stay; otherwise one keeps its node from being drained.
             * @default false
             */
            ignore_daemonsets: boolean;
            /**
             * @description Only pods that this label selector matches.
             * @default
             */
            pod_selector: string;
            /**
             * Format: int32
             * @description Pods that have been terminating for more seconds than this are not waited for; 0 waits.
             * @default 0
             */
            skip_wait_for_delete_timeout_seconds: number;
            /**
             * Format: int32
             * @description After so many seconds a node's drain has failed; 0 waits for ever. A pod of this system that
             *     takes over an unfinished drain counts anew.
             * @default 0
             */
            timeout_seconds: number;
        };
        /** @description One fault of a request, and where. */
        FieldError: {
            /**
             * @description Path of the field in the body, or the name of the parameter or header.
             * @example params.set
             */
            field: string;
            /** @description What is wrong with it. */
            message: string;
        };
        /** @description Every freeze. */
        FreezeList: {
            /** @description That of all clusters first. */
            freezes: components["schemas"]["FreezeView"][];
        };
        /** @description What a freeze needs. */
        FreezeRequest: {
            /** @description Why; everyone sees it. No more than 1,024 octets. */
            reason: string;
        };
        /** @description Why a cluster is left alone. */
        FreezeView: {
            /**
             * @description Which one; `*` is every cluster.
             * @example *
             */
            cluster: string;
            /** @description Why. */
            reason: string;
            /**
             * Format: date-time
             * @description Since when.
             */
            since: string;
            /** @description The name of whoever asked for it. */
            username: string;
        };
        /** @description What a task did to a node. */
        HistoryView: {
            /** @description What it did. */
            action: string;
            /** @description The changed keys after. */
            after?: Record<string, never> | null;
            /** @description The changed keys before. */
            before?: Record<string, never> | null;
            /**
             * Format: date-time
             * @description When it ended on this node.
             */
            finished_at?: string | null;
            /** @description In words. */
            message?: string | null;
            /** @description With which parameters. */
            params: Record<string, never>;
            /** @description Why. */
            reason: string;
            /** @description What came of it on this node. */
            status: string;
            /**
             * Format: date-time
             * @description When.
             */
            submitted_at: string;
            /**
             * Format: uuid
             * @description The task.
             */
            task_id: string;
            /** @description Who submitted it. */
            username: string;
        };
        /** @description A page of items, by (seq, ordinal). */
        ItemPage: {
            /** @description The items. */
            items: components["schemas"]["ItemView"][];
            /** @description Pass as `cursor` for the next page; absent on the last. */
            next_cursor?: string | null;
            /**
             * Format: int64
             * @description The task's sequence number in the same snapshot: pass as `after_seq` to see what comes later.
             */
            seq: number;
        };
        /** @description One node of a task. */
        ItemView: {
            /** @description The changed keys after; absent ones are null. */
            after?: Record<string, never> | null;
            /**
             * Format: int32
             * @description Tries so far.
             */
            attempts: number;
            /** @description The changed keys before; absent ones are null. */
            before?: Record<string, never> | null;
            /**
             * Format: date-time
             * @description When it ended.
             */
            finished_at?: string | null;
            /** @description What happened, in words. */
            message?: string | null;
            /** @description The node's name. */
            node: string;
            /** @description The node's UID when the task was submitted. */
            node_uid: string;
            /**
             * Format: int32
             * @description Its place in the task, from 0.
             */
            ordinal: number;
            /**
             * Format: int64
             * @description The task's sequence number when this item last changed.
             */
            seq: number;
            /**
             * Format: date-time
             * @description When work on it began.
             */
            started_at?: string | null;
            /**
             * @description `pending`, `running`, `succeeded`, `failed`, `skipped` or `cancelled`.
             * @example succeeded
             */
            status: string;
        };
        /** @description Parameters of `label` and `annotate`. */
        KeyParams: {
            /** @description Whether keys under `kubernetes.io/` and `k8s.io/` may be changed. */
            allow_protected?: boolean;
            /** @description Whether a key may be given another value than it has. */
            overwrite?: boolean;
            /** @description Keys to remove. */
            remove?: string[];
            /** @description Keys to set, with their values. */
            set?: {
                [key: string]: string;
            };
        };
        /**
         * @description What the keys of a change are.
         * @enum {string}
         */
        Keys: "labels" | "annotations" | "taints" | "cordon";
        /** @description Who signs in. */
        LoginRequest: {
            /**
             * Format: password
             * @description As it was set.
             */
            password: string;
            /** @description Case does not matter. */
            username: string;
        };
        /** @description A new session; its secret is in the cookie. */
        LoginResponse: {
            /**
             * Format: date-time
             * @description When the session ends if it is not used.
             */
            expires_at: string;
            /** @description Who it is. */
            user: components["schemas"]["UserView"];
        };
        /** @description This installation. */
        MetaView: {
            /**
             * @description The cluster that requests mean when they name none.
             * @example default
             */
            default_cluster: string;
            /**
             * @description Always `kube-node-manager`.
             * @example kube-node-manager
             */
            name: string;
            /** @description Where browsers reach the relay, when not at this origin. */
            relay_url?: string | null;
            /**
             * @description Release; only those who are signed in are told.
             * @example 1.2.3
             */
            version?: string | null;
        };
        /** @description A cluster to be added. */
        NewCluster: {
            /** @description As in [`ClusterAccess`]. */
            context?: string | null;
            /** @description As in [`ClusterAccess`]. */
            kubeconfig: string;
            /**
             * @description Its name: lower-case letters, digits and dashes, at most 63.
             * @example prod-east
             */
            name: string;
        };
        /** @description A taint to be set. */
        NewTaint: {
            /**
             * @description `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
             * @example NoSchedule
             */
            effect: string;
            /** @description Its key. */
            key: string;
            /** @description Its value; may be empty. */
            value?: string;
        };
        /** @description A node with all that is known of it. */
        NodeDetail: {
            /** @description Its addresses by type. */
            addresses: components["schemas"]["AddressView"][];
            /** @description What it has for pods. */
            allocatable: {
                [key: string]: string;
            };
            /** @description What it has. */
            capacity: {
                [key: string]: string;
            };
            /** @description What the kubelet and others say of it. */
            conditions: components["schemas"]["ConditionView"][];
            /** @description What tasks have done to it, newest first, at most 100. */
            history: components["schemas"]["HistoryView"][];
            /** @description Operating system, kernel, container runtime and so on. */
            info: {
                [key: string]: string;
            };
            /** @description As in lists. */
            node: components["schemas"]["NodeView"];
            /** @description With `pods=true`: its pods, by namespace and name. */
            pods?: components["schemas"]["PodView"][] | null;
            /** @description What could not be looked up. */
            warnings: string[];
        };
        /** @description A page of nodes. */
        NodePage: {
            /** @description Pass as `continue` for the next page; absent on the last. */
            continue?: string | null;
            /** @description Nodes that the filters let through, on all pages. */
            matched: number;
            /** @description In the order that was asked for, by name without one. */
            nodes: components["schemas"]["NodeView"][];
            /** @description The cluster's version of what is shown here; null without nodes. */
            resource_version?: string | null;
            /** @description Whether this is how the cluster is now. */
            state: components["schemas"]["SyncName"];
            /** @description Nodes of the cluster. */
            total: number;
        };
        /** @description One node. */
        NodePreview: {
            /** @description The changed keys as they would be. */
            after?: Record<string, never> | null;
            /** @description The changed keys as they are; absent ones are null. */
            before?: Record<string, never> | null;
            /** @description Why it would be refused. */
            message?: string | null;
            /** @description Its name. */
            node: string;
            /**
             * @description `drain` and NoExecute taints: how many pods there are by what would become of them: `evict`,
             *     `blocked` (by a budget, at the moment), `wait` (terminating already), `stay`, `refuse`.
             */
            pod_counts?: {
                [key: string]: number;
            };
            /** @description These pods; of more than 50 nodes only those that are blocked or would be refused. */
            pods?: components["schemas"]["PodPreview"][];
            /**
             * @description `change`, `unchanged` or `refused`.
             * @example change
             */
            result: string;
        };
        /** @description Exactly one of the four. */
        NodeSelection: {
            /** @description Every node of the cluster; must be `true` when given. */
            all?: boolean | null;
            /** @description By field selector, as `kubectl get nodes --field-selector` takes it. */
            field_selector?: string | null;
            /** @description By name. */
            names?: string[] | null;
            /** @description By label selector, as `kubectl get nodes -l` takes it. */
            selector?: string | null;
        };
        /** @description A node. */
        NodeView: {
            /** @description Its annotations. */
            annotations: {
                [key: string]: string;
            };
            /**
             * Format: date-time
             * @description When it joined.
             */
            created_at?: string | null;
            /** @description Its address within the cluster. */
            internal_ip?: string | null;
            /** @description Its labels. */
            labels: {
                [key: string]: string;
            };
            /** @description Its name. */
            name: string;
            /** @description Version of the object. */
            resource_version: string;
            /** @description From its `node-role.kubernetes.io/` labels. */
            roles: string[];
            /** @description As kubectl shows it: `Ready`, `NotReady` or `Unknown`, and `SchedulingDisabled` when cordoned. */
            status: components["schemas"]["StatusWord"][];
            /** @description Its taints. */
            taints: components["schemas"]["TaintView"][];
            /** @description Tells it from an earlier node of the same name. */
            uid: string;
            /** @description Whether it is cordoned. */
            unschedulable: boolean;
            /**
             * @description Its kubelet's version.
             * @example v1.36.0
             */
            version: string;
        };
        /** @description Parameters of `cordon` and `uncordon`: none. The task's reason is kept on the node. */
        NoParams: Record<string, never>;
        /** @description A new password for oneself. */
        PasswordChange: {
            /**
             * Format: password
             * @description The password as it is.
             */
            current: string;
            /** @description Whether one's personal tokens end, too. */
            end_tokens?: boolean;
            /**
             * Format: password
             * @description The password as it is to be, at least 8 characters.
             */
            password: string;
        };
        /** @description A new password. */
        PasswordReset: {
            /**
             * Format: password
             * @description At least 8 characters.
             */
            password: string;
        };
        /** @description One pod. */
        PodPreview: {
            /**
             * Format: int64
             * @description After how many seconds it would be evicted, if it tolerates the taint for a while.
             */
            after_seconds?: number | null;
            /**
             * @description `evict`, `blocked`, `wait`, `stay` or `refuse`.
             * @example evict
             */
            fate: string;
            /** @description `namespace/name` */
            pod: string;
            /** @description Why, where it is not simply evicted. */
            reason?: string | null;
        };
        /** @description A pod on a node. */
        PodView: {
            /**
             * Format: date-time
             * @description Since when.
             */
            created_at?: string | null;
            /** @description Its name. */
            name: string;
            /** @description Its namespace. */
            namespace: string;
            /** @description What would replace it, like `ReplicaSet/web`. */
            owner?: string | null;
            /** @description Whether all of its containers are ready. */
            ready: boolean;
            /** @description `Running`, `Pending`, …; `Terminating` when it is on its way out. */
            status: string;
        };
        /** @description What a task would do. */
        PreviewView: {
            /** @description What it would do. */
            action: string;
            /** @description `drain`: the disruption budgets of the pods that would go, those that allow nothing first. */
            budgets: components["schemas"]["BudgetPreview"][];
            /** @description How many of them would be changed. */
            changes: number;
            /** @description Cluster that it would act on. */
            cluster: string;
            /** @description What this system may not do in the cluster but would have to, like `patch nodes`. */
            missing_rights: string[];
            /** @description The nodes, in the order of the task. */
            nodes: components["schemas"]["NodePreview"][];
            /** @description How it would go about its nodes, defaults filled in. */
            options: Record<string, never>;
            /** @description With which parameters, defaults filled in. */
            params: Record<string, never>;
            /** @description Whether the caller may. */
            permitted: boolean;
            /**
             * @description Whether the pods could be looked at, where the task is about pods; if not, how many there are is
             *     not known.
             */
            pods_known: boolean;
            /** @description How many would be refused. */
            refused: number;
            /**
             * @description The role that may submit it.
             * @example operator
             */
            required_role: string;
            /** @description How many nodes it would have. */
            total: number;
            /** @description How many are as wanted already. */
            unchanged: number;
            /** @description What could not be looked up, and other things to know before the start. */
            warnings: string[];
        };
        /** @description The document that a [`Problem`] becomes. */
        Problem: {
            /**
             * @description What happened, for a program. Stable.
             * @example invalid
             */
            code: string;
            /** @description What happened, for a person. */
            detail: string;
            /** @description Every fault that was found in the request. */
            errors?: components["schemas"]["FieldError"][];
            /** @description The id under which the log has more. */
            request_id: string;
            /**
             * Format: int32
             * @description The HTTP status.
             * @example 422
             */
            status: number;
            /**
             * @description The status in words.
             * @example Unprocessable Entity
             */
            title: string;
            /**
             * @description Always `about:blank`: the status says what kind of problem it is, `code` which.
             * @example about:blank
             */
            type: string;
        };
        /** @description Parameters of a task that reverts another. Nobody submits them: `POST /tasks/{id}/revert` does. */
        RevertParams: {
            /** @description What kind of keys it has changed. */
            keys: components["schemas"]["Keys"];
            /**
             * Format: uuid
             * @description The task that is reverted.
             */
            task: string;
        };
        /**
         * @description What a user may do: a viewer reads, an operator changes nodes, an admin does the rest.
         * @enum {string}
         */
        RoleName: "viewer" | "operator" | "admin";
        /** @description One's own sessions. */
        SessionList: {
            /** @description The last used first. */
            sessions: components["schemas"]["SessionView"][];
        };
        /** @description A session of one's own. */
        SessionView: {
            /**
             * @description From where it began.
             * @example 192.0.2.7
             */
            address?: string | null;
            /**
             * Format: date-time
             * @description When it began.
             */
            created_at: string;
            /** @description Whether it is the one that this request was made with. */
            current: boolean;
            /**
             * Format: date-time
             * @description When it ends in any case.
             */
            ends_at: string;
            /**
             * Format: date-time
             * @description When it ends if it is not used.
             */
            expires_at: string;
            /**
             * Format: uuid
             * @description Identifier.
             */
            id: string;
            /**
             * Format: date-time
             * @description When it was last used, to the minute.
             */
            last_used_at: string;
            /** @description What the browser or program called itself. */
            user_agent?: string | null;
        };
        /** @description `event: snapshot`: a part of all nodes. */
        SnapshotEvent: {
            /** @description Whether what the client has is to be forgotten first. */
            first: boolean;
            /** @description Whether this was the last part. */
            last: boolean;
            /** @description By name. */
            nodes: components["schemas"]["NodeView"][];
            /** @description Whether this is how the cluster is now. */
            state: components["schemas"]["SyncName"];
        };
        /**
         * @description Where a cluster is written down.
         * @enum {string}
         */
        SourceName: "configuration" | "database";
        /**
         * @description A word of kubectl's STATUS column.
         * @enum {string}
         */
        StatusWord: "Ready" | "NotReady" | "Unknown" | "SchedulingDisabled";
        /** @description A cluster as it is stored. */
        StoredCluster: {
            /**
             * Format: date-time
             * @description Since when it is there.
             */
            created_at: string;
            /** @description Its name. */
            name: string;
            /** @description The API server. */
            server: string;
            /**
             * Format: date-time
             * @description When it was last changed.
             */
            updated_at: string;
        };
        /** @description A batch operation on nodes. */
        Submission: {
            /**
             * @description What to do.
             * @example label
             */
            action: string;
            /** @description Cluster to act on; the default cluster when left out. */
            cluster?: string | null;
            /** @description Which nodes. */
            nodes: components["schemas"]["NodeSelection"];
            /** @description How to go about it. */
            options?: components["schemas"]["SubmittedOptions"];
            /** @description Parameters of the action, in kubectl's words. */
            params?: Record<string, never>;
            /** @description Why, for those who read the history. */
            reason?: string;
            /**
             * @description Who is told of its end, instead of the installation's own; below one of the addresses that the
             *     configuration allows.
             * @example https://hooks.example.com/nodes
             */
            webhook?: string | null;
        };
        /** @description How a task goes about its nodes. What is left out has no limit, or the installation's default. */
        SubmittedOptions: {
            /**
             * Format: int32
             * @description Nodes worked on at a time.
             */
            concurrency?: number | null;
            /** @description Every call to the cluster is a server-side dry run: nothing changes there. */
            dry_run?: boolean;
            /**
             * Format: int32
             * @description Failed nodes that are put up with: with one more, nodes that have not been started are
             *     cancelled. 0 stops at the first failure.
             */
            max_failures?: number | null;
            max_unavailable?: components["schemas"]["Amount"] | null;
            /**
             * @description No node is started after this moment (RFC 3339); the rest is cancelled.
             * @example 2026-12-01T04:00:00Z
             */
            not_after?: string | null;
            /**
             * @description `drain`: a node whose drain fails or is cancelled is made schedulable again, if this task had
             *     made it unschedulable.
             */
            uncordon_on_failure?: boolean;
            waves?: components["schemas"]["SubmittedWaves"] | null;
        };
        /** @description Groups of nodes, in the order of the task. */
        SubmittedWaves: {
            /**
             * Format: int32
             * @description How long the nodes of a wave have to become Ready before the rest is cancelled; 600 when left
             *     out.
             */
            ready_timeout_seconds?: number | null;
            /** @description Nodes in a wave: a number, or a percentage of the task's nodes (rounded down, at least one). */
            size: components["schemas"]["Amount"];
        };
        /**
         * @description Whether what is known of a cluster is current.
         * @enum {string}
         */
        SyncName: "never_synced" | "live" | "stale";
        /** @description Taints to be removed: one of a key, or all of it. */
        TaintName: {
            /** @description Only the one with this effect. */
            effect?: string | null;
            /** @description Their key. */
            key: string;
        };
        /** @description Parameters of `taint`. A taint is known by its key and its effect. */
        TaintParams: {
            /** @description Whether keys under `kubernetes.io/` and `k8s.io/` may be changed. */
            allow_protected?: boolean;
            /** @description Whether a taint may be given another value than it has. */
            overwrite?: boolean;
            /** @description Taints to remove. */
            remove?: components["schemas"]["TaintName"][];
            /** @description Taints to set. */
            set?: components["schemas"]["NewTaint"][];
        };
        /** @description A taint. */
        TaintView: {
            /**
             * @description `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
             * @example NoSchedule
             */
            effect: string;
            /** @description Key. */
            key: string;
            /** @description Value; empty for none. */
            value: string;
        };
        /** @description A page of tasks, newest first. */
        TaskPage: {
            /** @description Pass as `cursor` for the next page; absent on the last. */
            next_cursor?: string | null;
            /** @description The tasks. */
            tasks: components["schemas"]["TaskView"][];
        };
        /** @description A task. */
        TaskView: {
            /**
             * @description What it does.
             * @example label
             */
            action: string;
            /**
             * Format: int32
             * @description Claims in a row that ended without one finished item.
             */
            attempt: number;
            /** @description Cluster that it acts on. */
            cluster: string;
            /**
             * Format: date-time
             * @description When it ended.
             */
            completed_at?: string | null;
            /** @description Items by state. */
            counts: components["schemas"]["CountsView"];
            /**
             * Format: date-time
             * @description When it was submitted.
             */
            created_at: string;
            /**
             * Format: int32
             * @description Items that have ended, however.
             */
            current: number;
            /** @description What its users last asked for: `run`, `pause` or `cancel`. */
            desired: string;
            /** @description Why the task itself failed, when it did. */
            error?: string | null;
            /**
             * Format: uuid
             * @description Identifier (UUID version 7: sorts by creation).
             */
            id: string;
            /** @description How it goes about its nodes, defaults filled in. */
            options: Record<string, never>;
            /** @description With which parameters, defaults filled in. */
            params: Record<string, never>;
            /**
             * Format: uuid
             * @description The task that this one retries or reverts.
             */
            parent_id?: string | null;
            /**
             * Format: double
             * @description `current` of `total`, 0 to 100.
             */
            percent: number;
            /** @description Why, in its submitter's words. */
            reason: string;
            /**
             * Format: int64
             * @description Sequence number of its last change.
             */
            seq: number;
            /**
             * Format: date-time
             * @description When work on it began.
             */
            started_at?: string | null;
            /**
             * @description `queued`, `running`, `paused`, `completed`, `failed` or `cancelled`.
             * @example running
             */
            status: string;
            /**
             * Format: int32
             * @description All items.
             */
            total: number;
            /**
             * Format: date-time
             * @description When it last changed.
             */
            updated_at: string;
            /**
             * Format: uuid
             * @description Who submitted it.
             */
            user_id: string;
            /** @description Their name. */
            username: string;
        };
        /** @description A new personal token. Its secret is shown this once. */
        TokenCreated: {
            /**
             * Format: date-time
             * @description When it ends.
             */
            expires_at: string;
            /**
             * Format: uuid
             * @description Identifier.
             */
            id: string;
            /** @description What it is for. */
            name: string;
            /**
             * @description The secret, for `Authorization: Bearer`.
             * @example knm_…
             */
            token: string;
        };
        /** @description The caller's personal tokens, newest first. */
        TokenList: {
            /** @description The tokens. */
            tokens: components["schemas"]["TokenView"][];
        };
        /** @description A personal token to be made. */
        TokenRequest: {
            /**
             * Format: int32
             * @description How long it lives, in days; 90 when left out.
             */
            expires_in_days?: number | null;
            /**
             * @description What it is for, to 100 characters.
             * @example nightly labels
             */
            name: string;
            role?: components["schemas"]["RoleName"] | null;
        };
        /** @description A personal token, without its secret. */
        TokenView: {
            /**
             * Format: date-time
             * @description When it was made.
             */
            created_at: string;
            /**
             * Format: date-time
             * @description When it ends.
             */
            expires_at: string;
            /**
             * Format: uuid
             * @description Identifier.
             */
            id: string;
            /**
             * Format: date-time
             * @description When it was last used, to the minute.
             */
            last_used_at: string;
            /** @description What it is for. */
            name: string;
            /** @description What it may do at most; null, of an older release: what its owner may. */
            role?: string | null;
        };
        /** @description A signed-in user. */
        UserView: {
            /** @description The clusters that exist for it, each with what it may do there; null: every one, with `role`. */
            clusters?: {
                [key: string]: components["schemas"]["RoleName"];
            } | null;
            /**
             * Format: uuid
             * @description Identifier.
             */
            id: string;
            /** @description What this session or token may do in the installation as a whole. */
            role: components["schemas"]["RoleName"];
            /**
             * @description The name.
             * @example admin
             */
            username: string;
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
