"""How a feature card looks: the colours and sizes of the browser, in one style sheet without an address."""

from __future__ import annotations

# `.saekit-feature.saekit-feature` outweighs the rules that JupyterLab and nbconvert have for tables and headings.
STYLE = """<style>
.saekit-feature{--act:#f5a524;--act-ink:#a86400;--pos:#00707a;--neg:#b5401b;--rust:#e29579;
--ink:var(--jp-content-font-color1,#1f1f1f);--bg:var(--jp-layout-color0,#fff);--grey:color-mix(in srgb,
var(--ink) 70%,var(--bg));--line:color-mix(in srgb,var(--ink) 14%,var(--bg));color:var(--ink);background:var(--bg);
border:1px solid var(--line);border-radius:3px;padding:8px 12px;font:12px/16px var(--jp-ui-font-family,system-ui,
sans-serif);font-variant-numeric:tabular-nums;container-type:inline-size;text-align:left}
body[data-jp-theme-light="false"] .saekit-feature,body.vscode-dark .saekit-feature{--act:#8a5800;--act-ink:#f0b04a;
--pos:#4fc3c9;--neg:#f08a5d;--rust:#8c3f22}
.saekit-feature{& code{font:12px/16px var(--jp-code-font-family,ui-monospace,Menlo,Consolas,monospace);
color:inherit;background:none;padding:0;white-space:pre;font-variant-ligatures:none;unicode-bidi:isolate}
& h4 code{font-size:15px;font-weight:600;margin-right:8px}
& h5 small{font-size:11px;font-weight:400;color:var(--grey)}
& .columns{display:grid;grid-template-columns:minmax(0,1fr) 260px;gap:0 20px;border-top:1px solid var(--line);
margin-top:6px}
& .panel{margin-top:8px;min-width:0}
& svg{display:block;height:60px;border-bottom:1px solid var(--grey)}
& svg.low{height:20px;margin-bottom:4px}
& svg .plus{fill:var(--act)}
& svg .minus{fill:var(--rust)}
& svg .edge.plus{fill:var(--act-ink)}
& svg .edge.minus,& svg .down{fill:var(--neg)}
& svg .up{fill:var(--pos)}
& i{display:inline-block;height:6px;margin-right:5px;vertical-align:1px;box-sizing:border-box}
& i.up{background:var(--pos)}
& i.down{border:1px solid var(--neg);border-left-width:3px}}
.saekit-feature.saekit-feature{& h4{font-size:15px;line-height:20px;font-weight:600;font-style:normal;margin:0;
color:var(--ink);overflow-wrap:anywhere}
& h5{font-size:12px;line-height:16px;font-weight:600;font-style:normal;margin:0 0 4px;color:var(--ink);display:flex;
justify-content:space-between;white-space:nowrap}
& p{margin:2px 0;max-width:60em}
& .small{font-size:11px;color:var(--grey);overflow-wrap:anywhere}
& table{border-collapse:collapse;border:0;margin:0;font-size:12px;width:100%;table-layout:auto}
& tr{background:none;border:0}
& td,& th{padding:1px 0;border:0;text-align:left;background:none;vertical-align:top;white-space:nowrap;
max-width:none;font-weight:400}
& th,& .axis td{font-size:11px;color:var(--grey)}
& .n{text-align:right}
& .axis td:nth-child(2){text-align:center}
& .axis td:nth-child(3){text-align:right}
& .logits td:nth-child(odd){max-width:64px;overflow:hidden;text-overflow:ellipsis}
& .logits td:nth-child(3),& .logits th:nth-child(2){padding-left:14px}
& .neighbours .name{width:99%;max-width:0;overflow:hidden;text-overflow:ellipsis;unicode-bidi:isolate}
& .heads td+td{padding-left:8px}
& .neighbours th+th,& .neighbours td+td{padding-left:12px}}
@container (max-width:760px){.saekit-feature .columns{grid-template-columns:minmax(0,1fr)}
.saekit-feature .side{display:flex;flex-wrap:wrap;gap:0 16px}
.saekit-feature .side .panel{flex:0 0 228px}
.saekit-feature .side .panel:has(.axis){flex:1 1 130px}
.saekit-feature.saekit-feature .logits td:nth-child(odd){max-width:52px}}
</style>"""
