// Queue: what runs, what waits, what ended; each can be stopped or cancelled.

import { get, pictureAddress, post, socket, type Picture } from "../api";
import { fill, h, seconds, settle } from "../dom";
import { complain, go } from "../parts/shell";
import { t } from "../words";

type Job = {
    id: string; status: "pending" | "in_progress" | "completed" | "failed" | "cancelled"; create_time: number;
    execution_start_time?: number; execution_end_time?: number; execution_error?: { exception_message?: string }; preview_output?: Picture; outputs_count?: number;
};
type Jobs = { jobs: Job[]; pagination: { total: number; has_more: boolean } };
const PAGE = 40;

export function queuePage(root: HTMLElement): { show(): void; hide(): void } {
    const now = h("div", { className: "stack" }), past = h("div", { className: "stack" });
    let shown = false, limit = PAGE;
    const all = (ids: { clear: boolean }, route: string): void => void post(route, ids).then(look, complain);
    fill(root,
        h("div", { className: "row" }, h("h1", { className: "grow" }, t("running")), h("button", { type: "button", onclick: () => all({ clear: true }, "/api/queue") }, t("clearQueue"))), now,
        h("div", { className: "row" }, h("h2", { className: "grow" }, t("finished")), h("button", { type: "button", onclick: () => all({ clear: true }, "/api/history") }, t("clearHistory"))), past);
    root.classList.add("stack");

    function line(job: Job): HTMLElement {
        const state = { pending: t("pending"), in_progress: t("running"), completed: t("done"), failed: t("failed"), cancelled: t("cancelled") }[job.status];
        const took = job.execution_start_time && job.execution_end_time ? ` · ${seconds(job.execution_end_time - job.execution_start_time)}` : "";
        const busy = job.status === "pending" || job.status === "in_progress";
        return h("article", { className: "panel job" },
            job.preview_output ? h("img", { src: pictureAddress(job.preview_output, 160), alt: "", loading: "lazy" }) : h("span", null),
            h("div", null, h("strong", null, state), h("span", { className: "quiet" }, ` ${new Date(job.create_time).toLocaleString()}${took}`),
                job.execution_error?.exception_message && h("p", { className: "quiet" }, job.execution_error.exception_message)),
            busy ? h("button", { type: "button", onclick: () => post(`/api/jobs/${job.id}/cancel`).then(look, complain) }, job.status === "pending" ? t("cancel") : t("stop"))
                : h("button", { type: "button", onclick: () => openFlow(job).catch(complain) }, t("openFlow")));
    }

    async function openFlow(job: Job): Promise<void> {
        const whole = await get<{ workflow: { prompt: import("../api").Flow; extra_data?: { extra_pnginfo?: { workflow?: unknown } } } }>(`/api/jobs/${job.id}`);
        go("flow", { flow: whole.workflow.prompt, workflow: whole.workflow.extra_data?.extra_pnginfo?.workflow });
    }

    async function look(): Promise<void> {
        const [running, ended] = await Promise.all([
            get<Jobs>("/api/jobs", { status: "in_progress,pending", sort_order: "asc", limit: 200 }),
            get<Jobs>("/api/jobs", { status: "completed,failed,cancelled", limit }),
        ]);
        fill(now, running.jobs.length ? running.jobs.map(line) : h("p", { className: "quiet" }, t("nothingQueued")));
        fill(past, ended.jobs.map(line), ended.pagination.has_more && h("button", { type: "button", onclick: () => { limit += PAGE; look().catch(complain); } }, t("next")));
    }

    const soon = settle(150, () => shown && look().catch(complain));
    socket.listen(m => (m.type === "status" || m.type === "open") && soon());
    return { show: () => { shown = true; look().catch(complain); }, hide: () => void (shown = false) };
}
