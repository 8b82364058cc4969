"""The words in Russian."""

from provisioner.domain.matters import Kind, Labels, Wording, Words

RU = Wording(
    labels=Labels(
        what="Что случилось",
        where="Где",
        since="Когда",
        todo="Что делать",
        count="Всего случаев: {count}; выше описан последний",
        still="Всё ещё не устранено; открыто {since}.",
        connection="подключение",
        server="сервер",
        rack="стойка",
        order="заказ",
        ordered="{order} ({panel})",
        job="задание",
        nobody="без заказа",
    ),
    words={
        Kind.RESTRICTED: Words(
            subject="{connection}: шаг {step} не проходит по вине площадки, заказы ждут",
            todo=(
                "Проверьте, что нужно там шагу {step}: сервер установки ОС, коммутатор, пул адресов.",
                "Пробный заказ там пока один; после его успеха остальные продолжатся сами, и вы об этом узнаете.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: шаг {step} там больше не сдерживается; ожидавшие заказы продолжаются сами.",
        ),
        Kind.PAUSED: Words(
            subject="{connection}: обращения приостановлены, заказы ждут",
            todo=(
                "Если DCIM недоступна, верните её в работу: мы проверяем это сами и пока ничего не отменяем.",
                "Если она не принимает наш вход, задайте верный пароль: `provisioner connection put {connection} …`.",
                "Если приостановлено вручную: `provisioner connection resume {connection}`.",
                "provisioner connection show {connection}",
            ),
            over="{connection}: обращения возобновлены; состояние читается заново, и работа продолжается сама.",
        ),
        Kind.HELD: Words(
            subject="{connection}: задание стоит на шаге {step} и ждёт решения человека",
            todo=(
                "provisioner job show {job}",
                "затем одно из: job retry, job skip, job swap, job cancel; с --dry-run каждое скажет, что оно сделает",
                "Все остановленные задания по причинам: provisioner job list --failed",
            ),
            over="{connection}: на шаге {step} больше не стоит ни одно задание.",
        ),
        Kind.GUARD: Words(
            subject="токен {token} запросил слишком много за раз: остальное придержано",
            todo=(
                "Спросите тех, кто ведёт эту биллинговую систему, так ли задумано. Пока ничего из этого не делается.",
                "Если да: provisioner token release {token}",
                "Если нет: provisioner token drop {token}",
            ),
            over="{by}: из запрошенного больше ничего не придержано.",
        ),
        Kind.FAILED: Words(
            subject="{connection}: задание {job_kind} окончательно не выполнено",
            todo=(
                "provisioner job show {job}",
                "Когда причина устранена: provisioner job retry {job}",
            ),
            over="{connection}: задания {job_kind} снова выполняются. Не выполненные за это время сами не повторятся.",
        ),
        Kind.QUARANTINED: Words(
            subject="{connection}: шаг {step} не прошёл на сервере {servers}, снят с продажи",
            todo=(
                "Осмотрите машину в стойке. Её адреса снова свободны, она отключена, причина записана в её заметках.",
                "provisioner server show {connection} {server}",
                "Когда сервер снова исправен: provisioner server release {connection} {server}",
                "Все такие серверы: provisioner server list --quarantined --connection {connection}",
            ),
            over="{connection}: из-за шага {step} больше ни один сервер не снят с продажи.",
        ),
        Kind.RELEASE: Words(
            subject="{connection}: сервер {server} не удалось очистить",
            todo=(
                "До тех пор продать его нельзя; попытки продолжаются со всё большими промежутками.",
                "provisioner server show {connection} {server}",
                "provisioner job show {job}",
            ),
            over="{connection}: по резервированию {claim} очищать больше нечего.",
        ),
        Kind.CALLBACK: Words(
            subject="биллинг {panel}: приёмник не принимает уведомления",
            todo=(
                "До тех пор {panel} не узнаёт, что стало с его услугами; сама работа продолжается.",
                "Проверьте приёмник, затем посмотрите, что о нём известно: provisioner callback list",
                "Когда он снова отвечает: provisioner callback replay {panel} --failed",
            ),
            over="биллинг {panel}: неотправленных уведомлений больше нет.",
        ),
        Kind.AUDIT: Words(
            subject="{connection}: сверка нашла то, чего раньше не было",
            todo=(
                "Каждое расхождение, чем оно грозит и какой командой исправляется:",
                "provisioner audit --kept --connection {connection}",
            ),
            over="{connection}: ни одного из найденных сверками расхождений больше нет.",
        ),
        Kind.PLACE: Words(
            subject="{order}: установить оборудование клиента в стойку, площадка {connection}",
            todo=(
                "Это {hostname} клиента {customer}; оборудование: {equipment}.",
                "Смонтируйте и подключите его, заведите сервер в {connection} и назначьте владельцем {user}.",
                "Затем укажите, какой это сервер: {link}",
                "или введите: provisioner job answer {job} --server ID",
                "Срок: {due}; после него об этом узнает ответственный администратор. Ничего не потеряется.",
            ),
            over="Больше ничего делать не нужно: ответ получен или заказ отозван.",
        ),
        Kind.REMOVE: Words(
            subject="{order}: снять оборудование клиента, сервер {server}, площадка {connection}",
            todo=(
                "Это {hostname} клиента {customer}: {equipment}.",
                "Снимите его, затем удалите сервер в {connection} или уберите владельца {user}.",
                "Затем подтвердите: {link}",
                "{closing} или закройте эту заявку,",
                "или введите: provisioner job answer {job} --done",
                "Срок: {due}; после него об этом узнает ответственный администратор. Ничего не потеряется.",
            ),
            over="Больше ничего делать не нужно: оборудование снято.",
        ),
        Kind.OVERDUE: Words(
            subject="{order}: вопрос задан {asked}, ответа нет",
            todo=("Узнайте у того, кому он задан; что и кому: provisioner job show {job}",),
            over="Вопрос решён.",
        ),
        Kind.HALTED: Words(
            subject="ничего не выполняется: база данных вернулась в прошлое или это её копия",
            todo=(
                "Заказы принимаются и ждут. Проверьте, прежде чем что-либо начнёт действовать:",
                "provisioner audit --after-restore",
            ),
            over="База данных подтверждена; работа продолжается.",
        ),
        Kind.SPREADING: Words(
            subject="{connection}: карантин растёт: {servers}",
            todo=(
                "Столько серверов одной площадки за сутки редко выходит из строя по отдельным причинам.",
                "Ищите, что у них общего: стойка, питание, коммутатор, образ ОС.",
                "provisioner server list --quarantined --connection {connection}",
            ),
            over="{connection}: из снятых тогда с продажи серверов осталось меньше предела.",
        ),
        Kind.STUCK: Words(
            subject="сообщения для {department} не принимаются и ждут",
            todo=(
                "Последний ответ приведён выше: верен ли адрес, принимает ли почтовый сервер письма на него?",
                "Отдел, сохранённый заново, сразу получит всё, что его ждёт:",
                "provisioner department list",
                "О чём он ещё не знает: provisioner ticket list",
            ),
            over="Сообщения для {department} снова принимаются.",
        ),
    },
)
