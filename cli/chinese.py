"""What the command line says, in Chinese: help by its English text, messages by their English pattern.

What has no entry stays English. `tests/cli/test_chinese.py` holds every entry against the help that there is.
"""

from __future__ import annotations

import re
from functools import cache

from medgrpo.cli.chinese_errors import ERRORS
from medgrpo.cli.chinese_mistakes import KINDS, MISTAKES
from medgrpo.cli.chinese_results import CELLS, HEADS, PURPOSES, RESULTS

COMMANDS = {
    "preprocess": "把原始图像与问答整理成经过检查的数据集。",
    "estimate-time": "训练前估计时间和显存。",
    "train": "用 SFT、GRPO 或 DPO 微调模型。",
    "ask": "就一张图像向模型提一个问题。",
    "eval": "在数据集上评测模型，或评测现成的预测。",
    "compare": "由日志比较多次运行，输出表格或离线网页。",
    "merge-lora": "把 LoRA 适配器合并进基座模型。",
    "make-dpo": "由模型回答生成 DPO 偏好对。",
    "score": "不加载模型，用奖励函数给回答文件打分。",
    "health": "由日志判断一次运行是否健康。",
    "runs": "列出这里的运行：训练了什么、如何结束、最佳指标。",
    "presets": "列出预设，或显示某个预设的取值及理由。",
    "doctor": "检查已安装的组件以及本机能运行什么。",
    "bundle": "把离线安装所需的一切放进一个文件夹。",
}
"""Command -> its line in the overview."""

PAGES = {
    "preprocess": "把原始图像与问答整理成经过检查的数据集。\n\n读取 JSON、JSONL、CSV、parquet 行和图像文件夹；每张图像按要求的尺寸存一次；按图像和患者划分；"
    "查找泄漏；写出 train 和 eval 读取的文件夹。再次运行只补做缺少的部分。已整理的数据集也可以作为来源。",
    "estimate-time": "估计一次运行的小时数和显存，并列出最能节省的选项。",
    "train": "用 SFT、GRPO 或 DPO 分阶段微调模型；不给 --model 时运行演示。\n\n写出运行文件夹（配置、日志、回答、检查点、权重），并把日志复制到 ./logs。"
    "CTRL-C 保存检查点后停止（退出码 130；SIGTERM 为 143）；用 `--resume auto` 继续。",
    "ask": "就一张图像向模型提一个问题，并查看它得到的输入和它的回答。\n\n不可用于临床：一个模型对一张图像的回答不是诊断。",
    "eval": "评测模型或现成的预测，每个数值旁附区间和基线。\n\n区间为 95 %，按图像聚类。基线是训练集中最常见的回答；盲猜基线还知道问题的措辞，但看不到图像。"
    "中断的评测会接着做。各数值的定义见 docs/evaluation.md。",
    "compare": "由日志比较多次运行：奖励、验证指标、速度、不同的设置、健康状况。\n\n加 --html 时还在一个离线网页中给出曲线、各步的回答和并列的回答。eval 的输出文件夹会逐题比较。",
    "merge-lora": "把 LoRA 适配器合并进基座模型，并核对合并后的模型是同一个函数。\n\n逐个张量处理，模型可以比内存大。核对不通过就什么也不写。全参数训练的运行没有适配器："
    "其 best_model 或 final_model 本来就是普通模型。",
    "make-dpo": "为 `train --method dpo` 生成偏好对（提示、图像、优选、拒绝），并附内容卡片。",
    "score": "不加载模型，用奖励函数给回答文件打分。",
    "health": "由日志判断一次运行是否健康：奖励趋势、KL、熵、无差异组、截断、速度。\n\n结论：正常、警告、异常、数据不足、无法理解。GRPO 的损失不必下降，KL 也没有固定的正确值：见 docs/health.md。",
    "runs": "列出这里的运行，最新的在前：预设、模型、数据、状态、最佳验证值。\n\n凡是接受运行的命令都认识 `latest` 一词，即列表中的第一个。",
    "presets": "列出预设，或显示某个预设的取值及理由。",
    "presets list": "列出各预设的用途和代价。",
    "presets show": "显示预设设置了什么、每个取值来自哪一层以及理由。",
    "doctor": "检查已安装的组件、有哪些 GPU 以及由此能做什么；或在分享前检查一个文件夹。",
}
"""Command -> the text of its help, without the example."""

HELP = {
    "Show this message and exit.": "显示本说明。",
    "Print one JSON document on stdout, nothing else.": "只在标准输出打印一个 JSON 文档。",
    "Print no progress and no notes.": "不显示进度和说明。",
    # preprocess
    "Folder with data files and pictures, one data file, or datasets.toml#NAME.": "含数据文件和图像的文件夹、单个数据文件，或 datasets.toml#名称。",
    "New folder for the prepared dataset.": "整理后数据集的新文件夹。",
    "vqa, text, vessels or detection. Default: from the data.": "vqa、text、vessels 或 detection。默认：由数据判断。",
    "Longest side of stored images, pixels. Default: as they are.": "存储图像的最长边（像素）。默认：保持原样。",
    "Largest area of stored images, pixels.": "存储图像的最大面积（像素）。",
    "Width and height become multiples of this, pixels (28 for Qwen2.5-VL).": "宽和高取此数的倍数（像素；Qwen2.5-VL 为 28）。",
    "auto, jpeg, png or webp. Masks are always PNG.": "auto、jpeg、png 或 webp。掩膜始终为 PNG。",
    "Quality of JPEG and WebP, 1 to 100.": "JPEG 和 WebP 的质量，1 到 100。",
    "auto, official, or shares of train,validation,test as .8,.1,.1.": "auto、official，或训练、验证、测试的比例，如 .8,.1,.1。",
    "Seed of the split.": "划分的随机种子。",
    "Processes. Default: one per core. Does not change the result.": "进程数。默认每核一个；不影响结果。",
    "stop at the first bad row, or skip and count them.": "stop：遇到坏行即停；skip：略过并计数。",
    "Exit 1 if best cheat / references is above this ratio.": "最佳作弊得分与参考得分之比超过此值时以 1 退出。",
    "A row whose picture is not there: bad (see --on-bad-row), or kept as text.": "缺图像的行：视为坏行（见 --on-bad-row），或作为纯文本保留。",
    "Several masks of one picture: one mask (union), or a row each (instances).": "一张图像有多个掩膜：合为一个（union），或各成一行（instances）。",
    "Same picture and question, other answers: keep, drop, or accept each (multi).": "同图同问而答案不同：保留、删除，或都接受（multi）。",
    "Call DICOM files by name. Default: by a hash, as names may be patients'.": "用文件名称呼 DICOM 文件。默认用哈希，因为文件名可能是患者姓名。",
    "Prompt template: structured, answer, plain, detection or a TOML file.": "提示模板：structured、answer、plain、detection 或 TOML 文件。",
    "Model folder: count prompts with its tokenizer against --context-length.": "模型文件夹：用其分词器计算提示长度，与 --context-length 比较。",
    "Longest prompt plus completion, tokens.": "提示加回答的最大长度（词元）。",
    "Of these, kept free for the completion.": "其中留给回答的长度。",
    "Longer rows: drop, downscale their images, or keep. Nothing is cut.": "过长的行：删除、缩小图像或保留。从不截断。",
    "Folder of the pictures. Default: beside the rows, or below.": "图像所在的文件夹。默认在数据文件旁边或其下。",
    "Which field is which: question=NAME,answer=NAME,image=NAME,… Default: found by their names.": "各字段的角色：question=字段,answer=字段,image=字段,…。默认按名称识别。",
    "Name in reports. Default: that of the source.": "报告中的名称。默认为来源的名称。",
    # estimate-time
    "Preset, or path of a .toml file.": "预设名或 .toml 文件路径。",
    "Model name or folder; default: Qwen2.5-VL-3B.": "模型名称或文件夹；默认 Qwen2.5-VL-3B。",
    "Prepared dataset: gives rows and image tokens.": "整理好的数据集：给出行数和图像词元数。",
    "Training rows; default: of --data, else 1797.": "训练行数；默认取自 --data，否则 1797。",
    "Longest image side in px; default: of --data, else 512.": "图像最长边（像素）；默认取自 --data，否则 512。",
    "Completions per prompt.": "每题的采样数。",
    "Longest completion, in tokens.": "回答的最大长度（词元）。",
    "Number of GPUs.": "GPU 数量。",
    "transformers or vllm.": "transformers 或 vllm。",
    "Prompts of one optimiser step.": "每个优化步的题数。",
    "Largest image the model sees, in pixels.": "模型看到的最大图像（像素数）。",
    "Any setting, as key=value; may be repeated.": "任意设置，写作 key=value；可重复。",
    "Also a table of other choices.": "另外列出其他选择。",
    "GPU name ('A100', 'A100 3g.40gb', 'cpu'), or auto: what is here.": "GPU 型号（'A100'、'A100 3g.40gb'、'cpu'）；auto：本机的设备。",
    "Method of the main stage.": "主阶段的方法。",
    "Spread the model with PyTorch's FSDP2.": "用 PyTorch 的 FSDP2 分布模型。",
    "Size of a model that is in no table, such as 7B.": "不在表中的模型的大小，如 7B。",
    "Train a few real steps here, largest rows first, and correct by them.": "在本机实训几步（最大的行在先），并据此校正。",
    "Explain how a run differs from its estimate, by phase.": "按阶段说明某次运行与其估计的差别。",
    "Also write a page with a small plot.": "另外写出一个带小图的网页。",
    "How boxes are written: pixels of the picture, 0-1000 or 0-1 of its sides. Default: as recorded beside the weights, else as the model's family does.": "框的写法：图像像素、边长的 0-1000 或 0-1。默认：按权重旁的记录，否则按模型家族。",
    "How boxes are written: pixels of the picture, 0-1000 or 0-1 of its sides. Default: the column of that name, else pixel.": "框的写法：图像像素、边长的 0-1000 或 0-1。默认：取同名的列，否则为像素。",
    "widest: best and worst; nearest: best and the best one below the margin; hard: best and a wrong answer in the right form, one on the wrong side first.": "widest：最好与最差；nearest：最好与差距以下的最好者；hard：最好与形式正确的错误回答，侧别弄错的优先。",
    "What a component gave: chosen:answer_match>=1, rejected:format>=1; repeat it.": "按某个分量的得分筛选：chosen:answer_match>=1，rejected:format>=1；可重复。",
    "Completions that were cut off: avoid: rejected only where a prompt has no whole one.": "被截断的回答：avoid：仅当该题没有完整回答时才用作拒绝项。",
    "Leave pairs out until the chosen one is longer in 40 to 60 %.": "略去一些偏好对，直到优选较长者占 40 % 到 60 %。",
    "No type of question has more than an even share of the pairs.": "每类问题的偏好对不超过均等份额。",
    "medgrpo: a prepared dataset; else as that library loads it.": "medgrpo：整理好的数据集；其他：按该库的读取格式。",
    "Weight set, or name=weight,…; for sample, models and other trainers' completions.": "权重组或 名称=权重,…；用于 sample、models 和其他训练器的回答。",
    "Prompt template, for sample and models. Default: the model's (medgrpo.json), else the dataset's.": "提示模板，用于 sample 和 models。默认：模型的（medgrpo.json），否则数据集的。",
    "Write the pairs to this CSV for people to choose, with a page of the pictures beside it, and no dataset.": "把偏好对写入此 CSV 供人选择，并附图像网页；不写数据集。",
    "JSON lines, JSON list, CSV, parquet, or Markdown rollouts; with --audit also a prepared dataset or questions with answers.": "JSON Lines、JSON 列表、CSV、parquet 或 Markdown 采样记录；与 --audit 合用时也可为整理好的数据集或带答案的问题。",
    "Names by comma: built in, FILE.py:FUNCTION, or entry points. Default: of --weights.": "以逗号分隔的名称：内置奖励、FILE.py:函数 或入口点。默认取自 --weights。",
    "balanced, conservative, balanced_caption, text, equal, or NAME=WEIGHT,… Default: balanced; equal with --rewards; answer_match alone with --plain; of its task for a dataset that is audited.": "balanced、conservative、balanced_caption、text、equal，或 名称=权重,…。默认 balanced；有 --rewards 时为 equal；有 --plain 时只用 answer_match；审计数据集时按其任务。",
    "completion=NAME,answer=NAME,… where the names are unusual; NAME empty: leave out.": "字段名不常见时：completion=字段,answer=字段,…；字段为空则略去。",
    # train
    "Preset by name or .toml path; `medgrpo presets list`. [balanced]": "预设名或 .toml 路径；见 `medgrpo presets list`。[balanced]",
    "Method of the main stage: grpo, sft, dpo, masks or masks-sft.": "主阶段的方法：grpo、sft、dpo、masks 或 masks-sft。",
    "Model folder, hub name, adapter or run.": "模型文件夹、模型库名称、适配器或运行。",
    "Prepared dataset; none: the demo set.": "整理好的数据集；不给则用演示数据。",
    "Run folder. [runs/<preset>-<date>-<n>]": "运行文件夹。[runs/<预设>-<日期>-<序号>]",
    "A setting as key=value; may be repeated.": "一项设置，写作 key=value；可重复。",
    "TOML file of settings over the preset.": "覆盖预设的 TOML 设置文件。",
    "Continue a run or a checkpoint; auto: that of --output (started if absent), or the newest unfinished.": "继续一次运行或一个检查点；auto：--output 所指的运行（没有则新建），或最新的未完成运行。",
    "GPUs of this machine to train on.": "本机用于训练的 GPU 数。",
    "Machines; start the command on each of them.": "机器数；在每台机器上启动本命令。",
    "zero2, zero3, or a DeepSpeed configuration file.": "zero2、zero3 或 DeepSpeed 配置文件。",
    "Spread the model over the GPUs with PyTorch's FSDP2.": "用 PyTorch 的 FSDP2 把模型分布到各 GPU。",
    "Generate with vLLM: colocate or server.": "用 vLLM 生成：colocate 或 server。",
    "Generate with vLLM: on the training GPUs, by a server, or as the estimate says of this machine.": "用 vLLM 生成：在训练用的 GPU 上、由服务器，或按对本机的估算决定。",
    "Seed of weights, data order and sampling. [0]": "权重、数据顺序和采样的随机种子。[0]",
    "A reward raises: stop, or skip the row and count. [stop]": "奖励函数出错时：stop 停止，skip 略过该行并计数。[stop]",
    "Longest call of a reward of your own; 0: no limit. [600]": "自定义奖励一次调用的最长时间；0 为不限。[600]",
    "With --resume: run the Python files that RUN names as rewards.": "与 --resume 合用：允许执行该运行列为奖励的 Python 文件。",
    "Exit code of a run that was stopped. [130: CTRL-C, 143: SIGTERM, 138 and 140: SIGUSR1, SIGUSR2]": "被停止的运行的退出码。[130：CTRL-C，143：SIGTERM，138 和 140：SIGUSR1、SIGUSR2]",
    "Check data, rewards and model, print the plan; train nothing.": "检查数据、奖励和模型并打印计划；不训练。",
    "Also name every setting that the demo changes.": "另外列出演示所改动的每项设置。",
    # ask
    "Run folder, adapter, model folder or hub name.": "运行文件夹、适配器、模型文件夹或模型库名称。",
    "Picture file; - for a question without a picture.": "图像文件；- 表示没有图像的问题。",
    "In quotes; English or Chinese.": "放在引号中；英文或中文。",
    "Adapter on top of MODEL.": "叠加在 MODEL 上的适配器。",
    "Take base and adapter although they differ from what was trained.": "即使基座和适配器与训练时不同也照用。",
    "Run Python code that comes with the base model.": "执行基座模型自带的 Python 代码。",
    "Branch, tag or commit of a base on the hub. Default: as trained, else main.": "模型库中基座的分支、标签或提交。默认：与训练时相同，否则为 main。",
    "A choice of a multiple-choice question; repeat it.": "选择题的一个选项；可重复。",
    "Prompt template. Default: the one it was trained with (medgrpo.json).": "提示模板。默认：训练时所用（medgrpo.json）。",
    "0: the likeliest token each time.": "0：每次取最可能的词元。",
    "Longest completion, in tokens. Default: as in training, else 256.": "回答的最大长度（词元）。默认：与训练时相同，否则 256。",
    "auto, float32, bfloat16 or float16.": "auto、float32、bfloat16 或 float16。",
    "Also print the prompt as the model gets it.": "另外打印模型得到的提示。",
    # eval
    "Run folder, adapter, model folder or hub name; none with --predictions.": "运行文件夹、适配器、模型文件夹或模型库名称；使用 --predictions 时不给。",
    "Prepared dataset. Default: the one MODEL was trained on.": "整理好的数据集。默认：MODEL 训练所用。",
    "train, validation or test.": "train、validation 或 test。",
    "Score these ready completions; no model is loaded.": "给这些现成的回答打分；不加载模型。",
    "Folder of predicted masks for DATA, named after its images or ids; no model is loaded.": "DATA 的预测掩膜文件夹，以图像名或 id 命名；不加载模型。",
    "File that holds the answers to --predictions, with --join.": "含 --predictions 参考答案的文件，与 --join 合用。",
    "How --predictions belong to the answers.": "--predictions 与答案如何对应。",
    "completion=NAME,answer=NAME,… where the names are unusual.": "字段名不常见时：completion=字段,answer=字段,…",
    "Only the first N rows.": "只用前 N 行。",
    "transformers, vllm, or the URL of an OpenAI-compatible server.": "transformers、vllm，或兼容 OpenAI 的服务地址。",
    "Completions in one forward pass.": "一次前向计算的回答数。",
    "Also draw N completions a question: agreement, majority, calibration.": "每题另采样 N 个回答：一致性、多数、校准。",
    "Of --samples; the scored completion is greedy.": "--samples 的温度；被打分的回答为贪心解码。",
    "blank,shuffle,noise: ask again with pictures that cannot help.": "blank、shuffle、noise：换成无助于作答的图像再问一次。",
    "TOML file of figures to reach, or stage1 or vessels.": "目标数值的 TOML 文件，或 stage1、vessels。",
    "Of the metric `reward`. Default: as in training, else balanced.": "指标 `reward` 的权重。默认：与训练时相同，否则 balanced。",
    "Run the Python files that RUN names as rewards, for the metric `reward`.": "允许执行该运行列为奖励的 Python 文件，用于指标 `reward`。",
    "A completion without tags is the answer itself. Default: seen from the completions.": "没有标签的回答本身就是答案。默认由回答判断。",
    "OpenAI-compatible server whose model also judges the answers.": "兼容 OpenAI 的服务，其模型也对回答评判。",
    "Model on that server. Default: its first.": "该服务上的模型。默认第一个。",
    "Folder for metrics.json, predictions.parquet, report.html, review.csv. Default: evaluation/MODEL-SPLIT; none with --predictions.": "存放 metrics.json、predictions.parquet、report.html、review.csv 的文件夹。默认 evaluation/模型-划分；使用 --predictions 时不写。",
    "Rows of the review sheet for a physician.": "供医生审阅的表格行数。",
    "A review sheet that was filled in: agreement of human and scorer.": "已填写的审阅表：人与评分器的一致性。",
    "Of everything drawn; a mixture's rows are those that MODEL was trained on.": "所有抽样的随机种子；混合数据的行与 MODEL 训练时相同。",
    "Also print what is measured by group, and what is taken for what.": "另外打印分组指标和混淆情况。",
    # compare
    "Run folders or logs, of any mix of formats: medgrpo, TRL, ms-swift, LLaMA-Factory, EasyR1, console.": "运行文件夹或日志，格式可混用：medgrpo、TRL、ms-swift、LLaMA-Factory、EasyR1、控制台输出。",
    "Folder for the page and the data behind it.": "网页及其数据的文件夹。",
    "Write OUTPUT/report.html, one file that needs no network.": "写出 OUTPUT/report.html，一个无需网络的文件。",
    "Name of the run (or predictions) the others are compared with. Default: the first.": "作为基准的运行（或预测）的名称。默认第一个。",
    "Predictions of a model on the same questions (eval's output); give it once per model.": "某模型对相同问题的预测（eval 的输出）；每个模型给一次。",
    "Reference answers for prediction files that hold none, as in `medgrpo score`.": "预测文件不含参考答案时的答案文件，同 `medgrpo score`。",
    "How predictions meet references: row, or KEY[=KEY].": "预测与参考如何对应：row 或 KEY[=KEY]。",
    "Names of columns: completion=text,answer=gt.": "列名：completion=text,answer=gt。",
    "Draw the curves of failed runs too; the tables have them always.": "失败的运行也画曲线；表格中始终列出。",
    # merge-lora
    "Adapter or run folders (best_lora, else final_lora). Several are added, each times its WEIGHT (1).": "适配器或运行文件夹（best_lora，否则 final_lora）。多个则按 WEIGHT（1）加权相加。",
    "Base model; default: the one that the adapter names.": "基座模型；默认取适配器所记。",
    "New folder of the merged model; default: ADAPTER-merged.": "合并模型的新文件夹；默认 ADAPTER-merged。",
    "Type of the merged weights; float32 keeps what bfloat16 rounds away.": "合并权重的类型；float32 保留 bfloat16 舍去的部分。",
    "Prompts on which merged model and adapter are compared; 0: none.": "用于比较合并模型与适配器的提示数；0 为不比较。",
    # make-dpo
    "Run folders, or completions of TRL, ms-swift or verl; with --from sample a model; with --from models prediction files.": "运行文件夹，或 TRL、ms-swift、verl 的回答；--from sample 时为模型；--from models 时为预测文件。",
    "New folder for the pairs.": "偏好对的新文件夹。",
    "completions: stored by GRPO; sample: drawn now; models: several models' outputs.": "completions：GRPO 存下的回答；sample：现在采样；models：多个模型的输出。",
    "dpo: pairs; sft: the best completion of each prompt, for train --method sft.": "dpo：偏好对；sft：每题的最佳回答，用于 train --method sft。",
    "Prepared dataset; default: the one the run trained on.": "整理好的数据集；默认为该运行训练所用。",
    "Least difference of rewards in a pair.": "一对之间奖励的最小差。",
    "Least reward of a best completion, with --kind sft.": "--kind sft 时最佳回答的最低奖励。",
    "Most pairs of one prompt.": "每题最多的偏好对数。",
    "Only completions of these training steps.": "只用这些训练步的回答。",
    "Completions per prompt with --from sample.": "--from sample 时每题的采样数。",
    "Longest completion with --from sample, in tokens.": "--from sample 时回答的最大长度（词元）。",
    "Use the first N rows with --from sample.": "--from sample 时使用前 N 行。",
    "Take the choices of this filled-in CSV; one a reviewer.": "采用这份已填写 CSV 中的选择；每位审阅者一份。",
    # score
    "File (or prepared dataset) that holds the answers, with --join.": "含答案的文件（或整理好的数据集），与 --join 合用。",
    "How FILE belongs to --references. Default: row.": "FILE 与 --references 如何对应。默认按行。",
    "A completion without tags is the answer itself.": "没有标签的回答本身就是答案。",
    "Tags of a completion, in order.": "回答中的标签，按顺序。",
    "Reward that multiplies the total, usually format.": "作为乘数（门槛）的奖励，通常为 format。",
    "Write every row with its scores: .jsonl, .json, .csv or .parquet.": "写出每行及其得分：.jsonl、.json、.csv 或 .parquet。",
    "Show the rule that decided on each row; without FILE: the synonyms.": "显示每行由哪条规则决定；不给 FILE 时显示同义词。",
    "Score cheats on the same rows beside the honest completions.": "在相同的行上同时给作弊回答打分。",
    "With --audit: exit 1 if best cheat / honest mean is above this ratio.": "与 --audit 合用：最佳作弊与诚实均值之比超过此值时以 1 退出。",
    "Completions per prompt, side by side: count groups without spread.": "每题相邻的回答数：统计无差异组。",
    "Score only the first rows.": "只给前面的行打分。",
    "What to do when a reward raises.": "奖励函数出错时怎么办。",
    "Longest call of a reward of your own; 0: no limit.": "自定义奖励一次调用的最长时间；0 为不限。",
    # health, runs, presets, doctor
    "A run folder, logs/<run>.json, log.jsonl, trainer_state.json, ms-swift logging.jsonl, LLaMA-Factory trainer_log.jsonl, EasyR1 JSONL, or a console capture.": "运行文件夹、logs/<运行>.json、log.jsonl、trainer_state.json、ms-swift 的 logging.jsonl、LLaMA-Factory 的 trainer_log.jsonl、EasyR1 的 JSONL，或控制台输出。",
    "Exit 1 if the verdict is at least this bad: warning or abnormal; exit 2 if no metric of the log is known. Default: never.": "结论至少这么差（warning 或 abnormal）时以 1 退出；日志中没有已知指标时以 2 退出。默认从不。",
    "Show the remedy of each finding.": "显示每项发现的对策。",
    "Of a run folder, read the newest completions too: do they repeat each other?": "对运行文件夹还读取最新的回答：是否互相重复？",
    "Folder of runs; those that logs/ names are listed too.": "运行所在的文件夹；logs/ 中记录的也会列出。",
    "Show the newest N.": "显示最新的 N 个。",
    "Also what keeps its default: every setting there is.": "也列出保持默认值的设置：全部设置。",
    "Name of a preset, or path of a .toml file.": "预设名或 .toml 文件路径。",
    "With the layer used when no model is named.": "包含未指定模型时使用的那一层。",
    "List what in FOLDER would identify a person or a machine; exit 1 if anything does.": "列出文件夹中可能识别个人或机器的内容；若有则以 1 退出。",
    "List the packages that medgrpo needs here, with their licences.": "列出 medgrpo 在这里需要的软件包及其许可证。",
    "Write the bill of materials of those packages, CycloneDX as JSON.": "写出这些软件包的物料清单（CycloneDX，JSON）。",
    "Of --licences and --sbom: with the packages of this extra. Default: train.": "用于 --licences 和 --sbom：包含此 extra 的软件包。默认 train。",
    # bundle
    "New folder.": "新文件夹。",
    "Optional dependencies, such as train; may be given again. Default: the base install.": "可选依赖，如 train；可多次给出。默认只有基本安装。",
    "Print every metric and every setting that differs.": "列出所有指标和所有不同的设置。",
    "Also print seconds by phase and GiB by part.": "还列出各环节的秒数和显存组成。",
    "Without CUDA, which is several GiB: torch must be the build for processors here.": "不含 CUDA（数 GiB）：此环境中的 torch 须为 CPU 版。",
}
"""English help of a parameter -> Chinese."""

MESSAGES = (
    # errors, in the order: problem, expected, hint
    ("error: {rest}", "错误：{rest}"),
    ("expected: {rest}", "应为：{rest}"),
    ("hint: {rest}", "提示：{rest}"),
    ("warning: {rest}", "警告：{rest}"),
    ("note: {rest}", "说明：{rest}"),
    *MISTAKES,
    ("stopped", "已停止"),
    ("one of {choices}", "以下之一：{choices}"),
    ("did you mean {name}?", "是否想写 {name}？"),
    ("No such option: {name}", "没有选项 {name}"),
    ("no model at {path}", "{path} 处没有模型"),
    ("no dataset at {path}", "{path} 处没有数据集"),
    ("no data at {path}", "{path} 处没有数据"),
    ("no log at {path}", "{path} 处没有日志"),
    ("no file {path}", "没有文件 {path}"),
    ("no unfinished run under runs/", "runs/ 下没有未完成的运行"),
    ("there is no latest run: runs/ and logs/ know none", "没有最新的运行：runs/ 和 logs/ 中都没有"),
    ("medgrpo train --preset balanced makes one", "先运行 medgrpo train --preset balanced"),
    ("{what} needs the package {package}, which is not installed", "{what} 需要软件包 {package}，尚未安装"),
    ("the run folder {path} exists and is not empty", "运行文件夹 {path} 已存在且不为空"),
    ("{path} exists and is not empty", "{path} 已存在且不为空"),
    ("preprocess needs a source and an output folder", "preprocess 需要来源和输出文件夹"),
    ("{path} has {count} pictures ({kinds}), and no file with their questions and answers, masks or boxes",
     "{path} 有 {count} 张图像（{kinds}），但没有含其问答、掩膜或框的文件"),
    ("no known format in {rest}", "没有已知格式：{rest}"),
    # notes
    ("demo: no --model given, so a small model is built here and trained on generated pictures; nothing is downloaded. A real run: {line}",
     "演示：没有给出 --model，因此在本机构建一个小模型，用生成的图像训练；不下载任何东西。真实训练：{line}"),
    ("no --model given: a demo-size model is built here and trained on {path}, to try the pipeline: it is too small to learn real answers. A real run: add {line}",
     "没有给出 --model：在本机构建演示大小的模型，用 {path} 训练，以试跑整个流程；它太小，学不会真实的回答。真实训练：加上 {line}"),
    ("the reward {name} judged none of {count} trial rows: are its columns empty? The other rewards decide such rows; {line} leaves it out",
     "奖励 {name} 没有判断 {count} 条试验样本中的任何一条：对应的列是空的吗？这些样本由其余奖励决定；不用它：{line}"),
    ("{stage} ({method}): {steps} steps of {what} = {epochs} epochs of {rows} rows",
     "{stage}（{method}）：{steps} 步，每步 {what}，即 {rows} 条样本的 {epochs} 轮"),
    ("{count} rows of ≤ {tokens} tokens", "{count} 条 ≤ {tokens} 词元的样本"),
    ("{count} prompts × {each} completions of ≤ {tokens} tokens", "{count} 个提示 × {each} 个 ≤ {tokens} 词元的回答"),
    ("{stage}, stage {number} of {count}: step {steps}  left {left}  {figures}",
     "{stage}，第 {number}/{count} 阶段：第 {steps} 步  剩余 {left}  {figures}"),
    ("engine: each prompt and its pictures once for its completions, by {how}", "引擎：同一提示及其图像对所有回答只算一遍（{how}）"),
    ("engine: rows about one picture read it once, by {how}", "引擎：同一图像的样本只看一遍图像（{how}）"),
    ("engine: log probabilities as TRL's, {words} (largest difference {worst} a token, allowed {limit})",
     "引擎：对数概率与 TRL 相同，{words}（每词元最大差 {worst}，允许 {limit}）"),
    ("rows with pictures", "有图像的样本"),
    ("rows without", "无图像的样本"),
    ("rows with pictures and without", "有图像和无图像的样本"),
    ("{last}/ will hold the last weights; no {best}/: {words}", "{last}/ 将存放最后的权重；没有 {best}/：{words}"),
    ("no validation in between (--set validation.steps=N keeps the best of every N steps)",
     "中途没有验证（--set validation.steps=N 保留每 N 步中最好的）"),
    ("no validation rows", "没有验证样本"),
    ("validation ({count} rows, greedy): blind baseline: {figures}", "验证（{count} 条，贪心解码）：盲猜基线：{figures}"),
    ("validation: before {method}: {figures}", "验证：{method} 之前：{figures}"),
    ("validation: after {method}: {figures}", "验证：{method} 之后：{figures}"),
    ("{status} ({reasons}); {line} says what to do", "{status}（{reasons}）；处理办法见 {line}"),
    ("the model looked {looked} times for {asked} questions", "{asked} 个问题，模型看了 {looked} 次图像"),
    ("answering", "作答"),
    ("{stage} still takes {steps}", "{stage} 仍有 {steps} 步"),
    ("{flag}: taken as --set {assignment}", "{flag}：按 --set {assignment} 处理"),
    ("{path} is up to date: same files, same options", "{path} 已是最新：文件和选项都相同"),
    ("written: {rest}", "已写出：{rest}"),
    ("written to {path} in {seconds} s", "已写入 {path}，用时 {seconds} 秒"),
    ("the page that was there is kept as {path}", "原有网页已保存为 {path}"),
    ("--all shows {more}groups and confusion too", "--all 还会显示{more}分组和混淆"),
    ("resuming {path}", "继续 {path}"),
    ("checking settings, data, rewards and model …", "正在检查设置、数据、奖励和模型 …"),
    ("loading PyTorch and TRL …", "正在加载 PyTorch 和 TRL …"),
    ("making the demo's pictures and questions …", "正在生成演示用的图像和问题 …"),
    ("building the demo's model …", "正在构建演示模型 …"),
    ("finishing this step{seconds}; CTRL-C again to stop now", "完成当前步后停止{seconds}；再按一次 CTRL-C 立即停止"),
    ("stopping; CTRL-C again to stop now", "正在停止；再按一次 CTRL-C 立即停止"),
    ("stopping after this: {what}; CTRL-C again to stop now", "完成后停止：{what}；再按一次 CTRL-C 立即停止"),
    ("max_steps={steps} is of the main stage; {words} ({how} changes that)", "max_steps={steps} 只限主阶段；{words}（用 {how} 修改）"),
    # results
    *RESULTS,
    ("health: {rest}", "健康状况：{rest}"),
    ("report: {path} (curves, before and after, answers with their pictures)", "报告：{path}（曲线、训练前后对比、带图像的回答）"),
    ("report: {path}", "报告：{path}"),
    ("run: {path}", "运行：{path}"),
    ("reward {first} → {last} over {steps} steps", "奖励 {first} → {last}，共 {steps} 步"),
    ("stopped; {line} goes on", "已停止；用 {line} 继续"),
    ("no runs in {path} yet; {line} makes one", "{path} 中还没有运行；先运行 {line}"),
    ("merged model in {path}", "合并后的模型在 {path}"),
    ("skipped: {count} × {reason}", "略过：{count} × {reason}"),
    ("leak: {rest}", "泄漏：{rest}"),
    ("{metric} accuracy {value} is not above its {name} baseline {best} ({words})", "{metric} 准确率 {value} 不高于 {name} 基线 {best}（{words}）"),
    ("{metric} accuracy {value} is not shown to be above its {name} baseline {best} ({words}): its interval begins at {low}",
     "{metric} 准确率 {value} 未能证明高于 {name} 基线 {best}（{words}）：其区间下限为 {low}"),
)  # fmt: skip
"""English pattern of a line -> Chinese; of those that fit the one with most words of its own."""

WORDS = {
    "normal": "正常",
    "warning": "警告",
    "abnormal": "异常",
    "insufficient_data": "数据不足",
    "not_understood": "无法理解",
    "info": "提示",
    "failed": "失败",
    "killed": "被终止",
    "stopped": "已停止",
    "finished": "已完成",
    "running": "运行中",
    "nothing stands out": "没有异常之处",
    "model": "模型",
    "weights": "权重",
    "named": "指定",
    "loading": "加载",
    "validation before training (the whole model on one GPU)": "训练前的验证（整个模型在一块 GPU 上）",
    "handing the weights to vLLM": "把权重交给 vLLM",
    "sampling": "采样",
    "looking at the pictures": "看图",
    "the update": "参数更新",
    "the optimiser's step": "优化器更新",
}
"""Single words of results."""


@cache
def _by_piece() -> list[tuple[str, str, str]]:
    """The longest piece of each English pattern that stands there word for word, the pattern, and its Chinese.

    First what stands before another message (`error: `), then the patterns with most of their own words.
    """
    entries = []
    for english, chinese in (*MESSAGES, *ERRORS):
        pieces = re.split(r"\{\w+\}", english)
        entries.append((max(pieces, key=len), english, chinese, sum(map(len, pieces))))
    entries.sort(key=lambda entry: (not entry[1].endswith(": {rest}"), -entry[3]))
    return [entry[:3] for entry in entries]


@cache
def _pattern(english: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", english)
    pattern = "".join(f"(?P<{part}>.*?)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    return re.compile(pattern, re.DOTALL)


def in_chinese(line: str) -> str:
    """The line in Chinese; as it is where no pattern fits. What follows `error:` and the like is looked up too."""
    if line in WORDS:
        return WORDS[line]
    for sentences in (PURPOSES, CELLS):
        if line in sentences:
            return sentences[line]
    if line.strip() in HEADS:
        return HEADS[line.strip()]
    if (
        of_a_kind := re.fullmatch(r"no ([\w -]+?) called (.*?)( \(command line\))?", line, re.DOTALL)
    ) is not None:
        return f"没有名为 {of_a_kind[2]} 的{KINDS.get(of_a_kind[1], f' {of_a_kind[1]}')}{'（命令行）' if of_a_kind[3] else ''}"
    for piece, english, chinese in _by_piece():
        if piece in line and (match := _pattern(english).fullmatch(line)) is not None:
            figures = {
                name: in_chinese(value) if name in ("rest", "what", "status", "words", "more") else value
                for name, value in match.groupdict().items()
            }
            return chinese.format(**figures)
    return line
