// Made by `npm run types` from the relay's JSON Schemas. Do not edit.

export type paths = Record<string, never>;
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * ClientMessage
         * @description What a client may ask for.
         */
        ClientMessage: {
            /** @description What the client has applied. */
            cursor?: string | null;
            /** @description Which task. */
            task_id: components["schemas"]["TaskId"];
            /** @constant */
            type: "subscribe";
        } | {
            /** @description Which task. */
            task_id: components["schemas"]["TaskId"];
            /** @constant */
            type: "unsubscribe";
        } | {
            /** @constant */
            type: "watch_tasks";
        } | {
            /** @constant */
            type: "unwatch_tasks";
        };
        /** @description How many items of a task are in each state. Travels as absolute values, never as differences. */
        Counts: {
            /**
             * Format: uint32
             * @description Never started because the task ended.
             */
            cancelled: number;
            /**
             * Format: uint32
             * @description Not done.
             */
            failed: number;
            /**
             * Format: uint32
             * @description Not started.
             */
            pending: number;
            /**
             * Format: uint32
             * @description In progress.
             */
            running: number;
            /**
             * Format: uint32
             * @description Left alone.
             */
            skipped: number;
            /**
             * Format: uint32
             * @description Done or already as wanted.
             */
            succeeded: number;
            /**
             * Format: uint32
             * @description All items.
             */
            total: number;
        };
        /** @description The name of one history, as cursors carry it. Opaque: only equality means anything. */
        Epoch: string;
        /** @description `error.code` */
        ErrorCode: "bad_message" | "unknown_task" | "forbidden" | "too_many_subscriptions" | "internal";
        /** @description A task without its items. */
        Head: {
            /** @description What it does. */
            action: string;
            /** @description On which cluster. */
            cluster: string;
            /**
             * Format: date-time
             * @description When it ended.
             */
            completed_at?: string | null;
            /** @description Items by state. */
            counts: components["schemas"]["Counts"];
            /**
             * Format: date-time
             * @description When it was submitted.
             */
            created_at: string;
            /**
             * Format: uint32
             * @description Items that have ended.
             */
            current: number;
            /** @description Why it failed as a whole. */
            error?: string | null;
            /** @description Which task. */
            id: components["schemas"]["TaskId"];
            /**
             * Format: double
             * @description 0 to 100 with one decimal, rounded down.
             */
            percent: number;
            /** @description Why, in its user's words. */
            reason: string;
            /** @description At which sequence number. */
            seq: components["schemas"]["Seq"];
            /**
             * Format: date-time
             * @description When it was first worked on.
             */
            started_at?: string | null;
            /** @description The task's state. */
            status: components["schemas"]["TaskStatus"];
            /**
             * Format: uint32
             * @description All items.
             */
            total: number;
            /**
             * Format: date-time
             * @description When it last changed.
             */
            updated_at: string;
            /** @description Whose. */
            user_id: components["schemas"]["UserId"];
        };
        /** @description An item as rows and snapshots have it. */
        ItemRow: {
            /** @description Its message. */
            message?: string | null;
            /** @description Its node's name. */
            node: string;
            /**
             * Format: uint32
             * @description Which item.
             */
            ordinal: number;
            /** @description Its state. */
            status: components["schemas"]["ItemStatus"];
        };
        /** @description The state of one node within a task. */
        ItemStatus: "pending" | "running" | "succeeded" | "failed" | "skipped" | "cancelled";
        /** @description A changed item: what a step says of it. */
        ItemUpdate: {
            /** @description Its message. */
            message?: string | null;
            /**
             * Format: uint32
             * @description Which item.
             */
            ordinal: number;
            /** @description Its state. */
            status: components["schemas"]["ItemStatus"];
        };
        /** @description The mode, since when and why. */
        Mode: {
            /** @description Which. */
            mode: components["schemas"]["ModeKind"];
            /**
             * Format: uint64
             * @description How often rows are read while polling.
             */
            poll_interval_ms?: number | null;
            /** @description Why it is not `live`. */
            reason?: string | null;
            /**
             * Format: date-time
             * @description Since when.
             */
            since: string;
        };
        /** @description How changes reach the relay. */
        ModeKind: "live" | "catching_up" | "polling";
        /** @description Why sequence numbers were given up. */
        ResyncReason: "epoch";
        /**
         * Format: int64
         * @description A task's sequence number. It starts at 1 with the creation and is raised by one, by the holder
         *     of the task's lease and nobody else, in the statement that writes the rows it covers.
         */
        Seq: number;
        /**
         * ServerMessage
         * @description What the relay may say. Clients ignore fields they do not know.
         */
        ServerMessage: {
            /** @description The history that sequence numbers belong to. */
            epoch: components["schemas"]["Epoch"];
            /** @description How changes arrive now. */
            mode: components["schemas"]["ModeKind"];
            /**
             * Format: uint64
             * @description A client that hears nothing for twice this long may give the connection up.
             */
            ping_interval_ms: number;
            /** @description Which pod's relay this is. */
            pod: string;
            /** @description Its release. */
            release: string;
            /** @constant */
            type: "hello";
            /**
             * Format: uint32
             * @description Of the protocol; 1.
             */
            version: number;
        } | {
            /** @description The cursor to resume from, once the last page has arrived. */
            cursor: string;
            /** @description The history of `seq`. */
            epoch: components["schemas"]["Epoch"];
            /** @description At most 1,000 items, by ordinal. */
            items: components["schemas"]["ItemRow"][];
            /** @description Whether this is the last page. */
            last: boolean;
            /**
             * Format: uint
             * @description From 0.
             */
            page: number;
            /** @description What the snapshot contains: everything up to here. */
            seq: components["schemas"]["Seq"];
            /** @description The task itself, the same in every page. */
            task: components["schemas"]["Head"];
            /** @description Which task. */
            task_id: components["schemas"]["TaskId"];
            /** @constant */
            type: "snapshot";
        } | (components["schemas"]["StepBody"] & {
            /** @constant */
            type: "progress";
        }) | (components["schemas"]["StepBody"] & {
            /** @constant */
            type: "complete";
        }) | {
            /** @description Whether this replaces the list, or names only the tasks that changed. */
            full: boolean;
            /** @description Newest last. */
            tasks: components["schemas"]["Head"][];
            /** @constant */
            type: "tasks";
        } | (components["schemas"]["Mode"] & {
            /** @constant */
            type: "mode";
        }) | {
            /** @description The new history. */
            epoch: components["schemas"]["Epoch"];
            /** @description Why. */
            reason: components["schemas"]["ResyncReason"];
            /** @constant */
            type: "resync";
        } | {
            /** @description For programs. */
            code: components["schemas"]["ErrorCode"];
            /** @description For people. */
            message: string;
            /** @description The task it is about. */
            task_id?: components["schemas"]["TaskId"] | null;
            /** @constant */
            type: "error";
        } | {
            /** @description For people. */
            reason: string;
            /**
             * Format: uint64
             * @description When to come back: different for each client.
             */
            reconnect_after_ms: number;
            /** @constant */
            type: "goodbye";
        };
        /** @description The body of `progress` and `complete`. */
        StepBody: {
            /** @description Items by state. */
            counts: components["schemas"]["Counts"];
            /**
             * Format: uint32
             * @description Items that have ended.
             */
            current: number;
            /** @description The cursor to resume from. */
            cursor: string;
            /** @description The history of `prev` and `seq`. */
            epoch: components["schemas"]["Epoch"];
            /** @description Why it failed as a whole. */
            error?: string | null;
            /** @description The items that changed, each with its latest state. */
            items: components["schemas"]["ItemUpdate"][];
            /**
             * Format: double
             * @description 0 to 100 with one decimal, rounded down.
             */
            percent: number;
            /** @description Where the client stood before. */
            prev: components["schemas"]["Seq"];
            /**
             * Format: int64
             * @description When the change was written, by the database's clock, in microseconds since 1970.
             */
            published_us: number;
            /** @description Where it stands now. */
            seq: components["schemas"]["Seq"];
            /** @description The task's state. */
            status: components["schemas"]["TaskStatus"];
            /** @description Which task. */
            task_id: components["schemas"]["TaskId"];
            /**
             * Format: uint32
             * @description All items.
             */
            total: number;
        };
        /**
         * Format: uuid
         * @description A task: one batch operation on a frozen list of nodes. Version 7, so ids sort by creation.
         */
        TaskId: string;
        /** @description The state of a task. */
        TaskStatus: "queued" | "running" | "paused" | "completed" | "failed" | "cancelled";
        /**
         * Format: uuid
         * @description A user account.
         */
        UserId: string;
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export type operations = Record<string, never>;
